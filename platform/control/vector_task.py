"""What a vectorised environment tells runners and algorithms about itself; free of Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from parley.envs.cartpole.vector import VectorStep
from parley.platform.records import State


class VectorEnv(Protocol):
    """The vector form of a multi-agent environment: E copies with N agents each."""

    @property
    def running(self) -> NDArray[np.bool_]:
        """Which agents bool [E, N] take part in the next step."""

    def reset(self) -> NDArray[np.int64]:
        """Start everywhere; the first windows int64 [E, N, L]."""

    def step(self, actions: NDArray[np.int64]) -> VectorStep:
        """Take int64 [E, N] actions; ended environments restart by themselves."""

    def get_state(self) -> State:
        """All that later steps depend on."""

    def set_state(self, state: State) -> None:
        """Go on where `get_state` was called."""


@dataclass(frozen=True)
class VectorTask:
    """What a vectorised environment tells the algorithm about itself."""

    make_vector_env: Callable[[Sequence[np.random.SeedSequence]], VectorEnv]
    observation_space: gymnasium.spaces.Space[Any]
    action_space: gymnasium.spaces.Space[Any]
    agent_ids: tuple[str, ...]
    module_of_agent: Mapping[str, str]
    """Which module plays each agent."""
