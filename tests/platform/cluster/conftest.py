"""Experiments of seconds for clusters of logical machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from parley.platform.control.algorithm import WindowAlgorithm, build_config
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.settings.loading import replace_overrides
from tests.platform.conftest import TINY

MakeAlgorithm = Callable[..., Any]


@pytest.fixture
def cart_algorithm() -> MakeAlgorithm:
    """Makes PPO on CartPole as its job does; arguments are overrides, `key=value`."""

    @contextmanager
    def make(*overrides: str) -> Iterator[WindowAlgorithm]:
        config = replace_overrides(CartPolePPOConfig.model_validate(TINY), overrides)
        assert isinstance(config, CartPolePPOConfig)
        settings = policy_settings(config.env, config.model)
        rllib = build_config(config, make_cartpole_task(config.env), settings)
        algorithm = cast("WindowAlgorithm", rllib.build_algo())
        try:
            yield algorithm
        finally:
            algorithm.stop()

    return make
