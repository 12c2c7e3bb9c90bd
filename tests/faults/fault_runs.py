"""Runs of seconds whose processes, disks and losses the tests of faults disturb."""

from __future__ import annotations

from typing import cast

from parley.platform.control.algorithm import WindowAlgorithm, build_config
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.settings.loading import load_experiment

CARTS = [
    "policy=mlp",
    "env.window=1",
    "rollouts.num_env_runners=2",
    "rollouts.num_envs_per_env_runner=2",
    "rollouts.rollout_fragment_length=16",
    "ppo.minibatch_size=32",
    "ppo.num_epochs=2",
    "stop.max_env_steps=1536",
    "stop.target_return=none",
    "evaluation.episodes=4",
    "evaluation.interval_env_steps=256",
    "evaluation.selection_episodes=3",
    "checkpoint.interval_iterations=3",
]
"""24 iterations of 64 steps from two runners; evaluations save too."""
REMOTE_CARTS = [*CARTS, "stop.max_env_steps=640", "learner.num_learners=1"]
"""10 such iterations with a learner in a process of its own."""
LOSSES = ("policy_loss", "value_loss", "entropy", "kl")
TRACES = [
    "language.min_size=1",
    "language.max_size=2",
    "language.options.base=3",
    "model.embed_size=16",
    "model.heads=2",
    "model.ff_hidden=32",
    "model.num_states=4",
    "stream.holdout=0.3",
    "training.num_steps=400",
    "training.batch_tokens=256",
    "training.warmup_steps=5",
    "training.eval_interval=50",
    "training.stop_exact_match=none",
    "evaluation.sizes=[1, 2]",
    "evaluation.inputs_per_size=8",
    "evaluation.selection_inputs=8",
    "checkpoint.interval_iterations=20",
]


def make_carts(*overrides: str) -> WindowAlgorithm:
    """The algorithm of such a run, which learns in this process."""
    config = load_experiment("cartpole/ppo", [*CARTS, *overrides])
    assert isinstance(config, CartPolePPOConfig)
    settings = policy_settings(config.env, config.model)
    rllib = build_config(config, make_cartpole_task(config.env), settings)
    return cast("WindowAlgorithm", rllib.build_algo())
