"""What the platform's tests share: a local Ray, and experiments of a few seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import ray

from parley.platform.config.loading import replace_overrides
from parley.platform.config.schema import CartPolePPOConfig

TINY = {
    "policy": "mlp",
    "env": {"window": 1, "max_steps": 200},
    "model": {"embed_size": 16, "heads": 2, "ff_hidden": 32, "num_states": 4},
    "rollouts": {
        "num_env_runners": 1,
        "num_envs_per_env_runner": 4,
        "rollout_fragment_length": 16,
    },
    "ppo": {"minibatch_size": 32, "num_epochs": 2, "anneal_env_steps": 1_000},
    "stop": {"max_env_steps": 512},
    "evaluation": {"episodes": 4, "interval_env_steps": 256, "selection_episodes": 3},
    "checkpoint": {"interval_iterations": 2},
}
"""Iterations of 4 x 16 steps, two gradient steps an epoch."""

MakeConfig = Callable[..., CartPolePPOConfig]


@pytest.fixture(scope="session")
def make_config() -> MakeConfig:
    """Makes a tiny experiment; its arguments are overrides, `key=value`."""
    tiny = CartPolePPOConfig.model_validate(TINY)

    def make(*overrides: str) -> CartPolePPOConfig:
        config = replace_overrides(tiny, overrides)
        assert isinstance(config, CartPolePPOConfig)
        return config

    return make


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray cluster of four CPUs in this process, for all tests that ask for it."""
    ray.init(num_cpus=4, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()
