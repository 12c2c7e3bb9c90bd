"""A Markov chain as a language: its states are the tokens.

START s3 s0 s0 s5 END
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import FloatArray, IntArray, Traces, require_size
from parley.envs.trace.source import (
    FIRST_SYMBOL,
    Source,
    draw_chain,
    mean_entropy,
    stationary_distribution,
)

CHAIN_STREAM = 0x4D43
"""Sets the random stream of the chain apart from others with the same seed."""


class Markov(Source):
    """Walks of `size` states; an input int64 [size] holds the states themselves.

    Every row of the transition matrix is drawn uniformly from all distributions
    (Dirichlet(1, ..., 1)); a walk begins in the stationary distribution.

    Args:
        num_states: states of the chain, at least 2.
        chain_seed: seed of the transition matrix.

    Raises:
        ValueError: an argument is outside its range.
    """

    name: ClassVar[str] = "markov"

    def __init__(self, num_states: int = 8, chain_seed: int = 0) -> None:
        if num_states < 2:
            raise ValueError(f"num_states must be at least 2, got {num_states}")
        if chain_seed < 0:
            raise ValueError(f"chain_seed must be at least 0, got {chain_seed}")
        self.alphabet = ("START", "END", *(f"s{state}" for state in range(num_states)))
        generator = np.random.default_rng([CHAIN_STREAM, chain_seed])
        self._transition = generator.dirichlet(np.ones(num_states), size=num_states)
        self._start = stationary_distribution(self._transition)

    def transition_matrix(self) -> FloatArray:
        """The true chain float64 [S, S]: row s holds the distribution of what follows state s."""
        return self._transition.copy()

    def start_distribution(self) -> FloatArray:
        """The stationary distribution float64 [S]: that of the first state, and of all others."""
        return self._start.copy()

    @property
    def entropy_rate(self) -> float:
        """Nats per state that no predictor can save."""
        return mean_entropy(self._start, self._transition)

    def draw_inputs(self, size: int, count: int, generator: np.random.Generator) -> IntArray:
        """Walks int64 [count, size]."""
        require_size(size, 1, "symbol")
        return draw_chain(self._start, self._transition, (count, size), generator)

    def optimal_nats(self, traces: Traces) -> FloatArray:
        """-log of the chain's own probability of every state, given the one before."""
        known = (traces.tokens - FIRST_SYMBOL).clip(0, self.num_symbols - 1)
        probabilities = np.ones(traces.tokens.shape)
        probabilities[:, 1] = self._start[known[:, 1]]
        probabilities[:, 2:] = self._transition[known[:, 1:-1], known[:, 2:]]
        nats: FloatArray = np.where(traces.labels == IGNORED_LABEL, 0.0, -np.log(probabilities))
        return nats
