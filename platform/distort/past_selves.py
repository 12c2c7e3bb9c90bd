"""A pool of a seat's earlier selves, one of which sometimes sits in the other seat.

Self-play against frozen past selves (Bansal et al. 2018, arXiv:1710.03748, section 3.2) keeps a
policy from tuning itself to one partner. Whether a past self speaks in iteration i, and which,
depends on (seed, i) and the pool alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import ray

from parley.platform.distort.runner import ModelRef
from parley.platform.distort.settings import PoolConfig
from parley.platform.records import State

POOL_STREAM = 7
Weights = Mapping[str, np.ndarray[Any, Any]]


class SelfPool:
    """Keeps the newest earlier selves and says who speaks.

    Args:
        config: how many, how often.
        seed: of the run.
        architecture: transformers configuration of the trained seat's model.
    """

    def __init__(self, config: PoolConfig, seed: int, architecture: Mapping[str, Any]) -> None:
        self.config = config
        self.seed = seed
        self.architecture = architecture
        self._selves: dict[int, Weights] = {}
        self._references: dict[int, Any] = {}

    def wants(self, iteration: int) -> bool:
        """Whether the policy after `iteration` belongs into the pool."""
        return self.config.share > 0 and iteration % self.config.interval_iterations == 0

    def add(self, iteration: int, state: Weights) -> None:
        """Take in the weights after `iteration`; the oldest ones leave."""
        self._selves[iteration] = {name: np.array(array) for name, array in state.items()}
        for old in sorted(self._selves)[: -self.config.size]:
            del self._selves[old]
            self._references.pop(old, None)

    def choose(self, iteration: int) -> ModelRef | None:
        """Who sits in the pool's seat in `iteration`; None: its own model."""
        if not self._selves:
            return None
        generator = np.random.default_rng([self.seed, POOL_STREAM, iteration])
        if generator.random() >= self.config.share:
            return None
        chosen = int(generator.choice(sorted(self._selves)))
        if chosen not in self._references:
            self._references[chosen] = ray.put(dict(self._selves[chosen]))
        return ModelRef(f"past-{chosen}", self.architecture, self._references[chosen])

    def state(self) -> State:
        """What a resumed run needs: iteration -> weights."""
        return {str(iteration): dict(state) for iteration, state in self._selves.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was called."""
        self._selves = {int(iteration): weights for iteration, weights in state.items()}
        self._references = {}
