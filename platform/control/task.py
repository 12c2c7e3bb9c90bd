"""CartPole as runners and learners see it: environments, spaces, carts and policies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import gymnasium
import numpy as np

from parley.envs.cartpole.tokens import (
    ACT_LEFT,
    ACT_RIGHT,
    NUM_CONTROL_TOKENS,
    RESET,
    STATE_LIMITS,
    STEP_TOKENS,
    CartPoleTokenizer,
)
from parley.envs.cartpole.vector import VectorCartPole
from parley.platform.control.settings import CartPoleEnvConfig
from parley.platform.control.vector_task import VectorTask
from parley.platform.records import Facts, Settings
from parley.platform.settings.network import ModelConfig


def make_cartpole_task(env: CartPoleEnvConfig) -> VectorTask:
    """The vectorised environment and who plays which cart."""
    tokenizer = CartPoleTokenizer(env.num_bins)
    carts = tuple(f"cart_{index}" for index in range(env.num_carts))
    return VectorTask(
        make_vector_env=partial(make_vector_env, env),
        observation_space=gymnasium.spaces.Box(
            0, tokenizer.vocab_size - 1, (STEP_TOKENS * env.window,), np.int64
        ),
        action_space=gymnasium.spaces.Discrete(2),
        agent_ids=carts,
        module_of_agent={cart: "carts" if env.shared_policy else cart for cart in carts},
    )


def make_vector_env(
    env: CartPoleEnvConfig, seeds: Sequence[np.random.SeedSequence], auto_reset: bool = True
) -> VectorCartPole:
    """The vector form of an experiment's environment, one copy for each seed."""
    return VectorCartPole(
        len(seeds),
        env.num_carts,
        env.num_bins,
        env.window,
        env.dither,
        env.max_steps,
        seeds=seeds,
        auto_reset=auto_reset,
    )


def policy_settings(env: CartPoleEnvConfig, model: ModelConfig) -> Settings:
    """Sizes of the policy; see `policies.building`."""
    return {
        "vocab_size": CartPoleTokenizer(env.num_bins).vocab_size,
        "num_tokens": STEP_TOKENS * env.window,
        "acting": describe_acting(env),
        **model.model_dump(),
    }


def describe_acting(env: CartPoleEnvConfig) -> Facts:
    """What a policy's `config.json` says of the language that it acts in.

    Returns:
        `environment`, `arguments`: for `gymnasium.make`, whose observations are the policy's input.
        `action_tokens`: ids that compete after an observation, in the order of the actions.
        `reset_token`: what stands before the last one in an observation is padding.
        `first_state_token`, `state_limits`: bin k of dimension d is token `first_state_token +
        d * num_bins + k`, the bins being equal parts of plus and minus the limit (`envs.cartpole`).
    """
    return {
        "environment": "parley/TokenCartPole-v0",
        "arguments": env.model_dump(include={"num_bins", "window", "dither", "max_steps"}),
        "action_tokens": [ACT_LEFT, ACT_RIGHT],
        "reset_token": RESET,
        "first_state_token": NUM_CONTROL_TOKENS,
        "state_limits": list(STATE_LIMITS),
    }
