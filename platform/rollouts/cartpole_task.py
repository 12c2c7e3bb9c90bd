"""CartPole as runners and learners see it: environments, spaces, carts and policies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from parley.envs.cartpole.tokens import STEP_TOKENS, CartPoleTokenizer
from parley.envs.cartpole.vector import VectorCartPole
from parley.platform.config.cartpole import CartPoleEnvConfig, ModelConfig
from parley.platform.rollouts.vector_task import VectorTask


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


def policy_settings(env: CartPoleEnvConfig, model: ModelConfig) -> dict[str, Any]:
    """Sizes of the policy; see `policies.building`."""
    return {
        "vocab_size": CartPoleTokenizer(env.num_bins).vocab_size,
        "num_tokens": STEP_TOKENS * env.window,
        **model.model_dump(),
    }
