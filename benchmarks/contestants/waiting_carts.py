"""CartPole that waits in every step, as a simulator on another machine would: a runner's time is
then a known share of waiting, in which runners do not compete for the few cores of this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.envs.cartpole.vector import VectorCartPole, VectorStep
from parley.platform.control.settings import CartPoleEnvConfig
from parley.platform.control.task import make_cartpole_task, make_vector_env
from parley.platform.control.vector_task import VectorTask


class WaitingCarts:
    """A vector environment whose steps take `wait_s` longer.

    Args:
        env: what is played.
        wait_s: seconds that every step waits, for all copies together.
    """

    def __init__(self, env: VectorCartPole, wait_s: float) -> None:
        self._env = env
        self._wait_s = wait_s

    @property
    def running(self) -> NDArray[np.bool_]:
        """Which agents take part in the next step."""
        return self._env.running

    def reset(self) -> NDArray[np.int64]:
        """Start everywhere."""
        return self._env.reset()

    def step(self, actions: NDArray[np.int64]) -> VectorStep:
        """Wait, then take the actions."""
        time.sleep(self._wait_s)
        return self._env.step(actions)

    def get_state(self) -> dict[str, Any]:
        """The state of what is played."""
        return self._env.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_state` was called."""
        self._env.set_state(state)


def make_waiting_task(env: CartPoleEnvConfig, wait_s: float) -> VectorTask:
    """CartPole's task with steps that wait."""
    return replace(make_cartpole_task(env), make_vector_env=partial(_make, env, wait_s))


def _make(
    env: CartPoleEnvConfig, wait_s: float, seeds: Sequence[np.random.SeedSequence]
) -> WaitingCarts:
    return WaitingCarts(make_vector_env(env, seeds), wait_s)
