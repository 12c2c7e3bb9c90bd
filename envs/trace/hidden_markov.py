"""A hidden Markov source as a language: its symbols are the tokens, its states stay hidden.

    START v3 v3 v1 v0 v6 END

The states are sticky, so that a symbol says little of the present state and the past says much:
what predicts best is the filter, which carries the probability of every state from token to token.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import FloatArray, IntArray, Traces, require_size
from parley.envs.trace.source import (
    FIRST_SYMBOL,
    Categorical,
    Source,
    draw_chain,
    mean_entropy,
    stationary_distribution,
)

SOURCE_STREAM = 0x484D
"""Sets the random stream of the parameters apart from others with the same seed."""
EMISSION_CONCENTRATION = 0.5
"""Of the Dirichlet distribution of the emissions: below 1 some symbols are typical of a state."""


class HiddenMarkov(Source):
    """`size` symbols of a hidden chain; an input int64 [2 * size] holds its states, then symbols.

    The chain stays in its state with probability `stay` and otherwise moves by a uniformly drawn
    distribution (Dirichlet(1, ..., 1)); it begins in its stationary distribution.

    Args:
        num_states: hidden states, at least 2.
        num_symbols: symbols, at least 2.
        source_seed: seed of transitions and emissions.
        stay: weight of staying, at least 0 and less than 1.

    Raises:
        ValueError: an argument is outside its range.
    """

    name: ClassVar[str] = "hidden_markov"

    def __init__(
        self, num_states: int = 4, num_symbols: int = 8, source_seed: int = 0, stay: float = 0.95
    ) -> None:
        for argument, number in (("num_states", num_states), ("num_symbols", num_symbols)):
            if number < 2:
                raise ValueError(f"{argument} must be at least 2, got {number}")
        if source_seed < 0:
            raise ValueError(f"source_seed must be at least 0, got {source_seed}")
        if not 0 <= stay < 1:
            raise ValueError(f"stay must be at least 0 and less than 1, got {stay}")
        self.num_states = num_states
        self.alphabet = ("START", "END", *(f"v{symbol}" for symbol in range(num_symbols)))
        generator = np.random.default_rng([SOURCE_STREAM, source_seed])
        moves = generator.dirichlet(np.ones(num_states), size=num_states)
        concentration = np.full(num_symbols, EMISSION_CONCENTRATION)
        self._transition = stay * np.eye(num_states) + (1 - stay) * moves
        self._emission = generator.dirichlet(concentration, size=num_states)
        self._start = stationary_distribution(self._transition)

    def transition_matrix(self) -> FloatArray:
        """The true hidden chain float64 [S, S]: row s holds what follows state s."""
        return self._transition.copy()

    def emission_matrix(self) -> FloatArray:
        """The true emissions float64 [S, V]: row s holds what state s says."""
        return self._emission.copy()

    def start_distribution(self) -> FloatArray:
        """The stationary distribution float64 [S] of the hidden states."""
        return self._start.copy()

    @property
    def unigram_nats(self) -> float:
        """Nats per symbol of the best predictor without a past."""
        return mean_entropy(np.ones(1), (self._start @ self._emission)[None])

    @property
    def first_order_nats(self) -> float:
        """Nats per symbol of the best predictor that knows one symbol."""
        previous = self._start @ self._emission
        joint = (self._start[:, None] * self._emission).T @ self._transition @ self._emission
        return mean_entropy(previous, joint / previous[:, None])

    def draw_inputs(self, size: int, count: int, generator: np.random.Generator) -> IntArray:
        """States and symbols int64 [count, 2 * size]."""
        require_size(size, 1, "symbol")
        states = draw_chain(self._start, self._transition, (count, size), generator)
        symbols = Categorical(self._emission).draw(states, generator.random(states.shape))
        return np.hstack([states, symbols])

    def visible(self, inputs: IntArray) -> IntArray:
        """The symbols int64 [N, size]: two inputs that differ in hidden states alone look alike."""
        return inputs[:, inputs.shape[1] // 2 :]

    def hidden_states(self, inputs: IntArray) -> IntArray:
        """The true states int64 [N, size] behind the symbols."""
        return inputs[:, : inputs.shape[1] // 2]

    def optimal_nats(self, traces: Traces) -> FloatArray:
        """-log of every symbol's probability, given those before, by the forward algorithm."""
        likelihoods, _ = self._filter(traces.tokens)
        nats: FloatArray = np.where(traces.labels == IGNORED_LABEL, 0.0, -np.log(likelihoods))
        return nats

    def filtered_states(self, tokens: IntArray) -> FloatArray:
        """Probabilities float64 [N, T, S] of the hidden states after each token int64 [N, T].

        At START it is the distribution of the first state; END tells nothing new.
        """
        _, beliefs = self._filter(tokens)
        return beliefs

    def _filter(self, tokens: IntArray) -> tuple[FloatArray, FloatArray]:
        """Likelihoods [N, T] of each token given those before, and beliefs [N, T, S] after it.

        The forward algorithm with every step normalised (Rabiner, "A tutorial on hidden Markov
        models", 1989, section V.A).
        """
        num_rows, length = tokens.shape
        likelihoods = np.ones((length, num_rows))
        beliefs = np.empty((length, num_rows, self.num_states))
        beliefs[0] = predicted = np.tile(self._start, (num_rows, 1))
        columns = self._emission.T
        for place in range(1, length):
            symbols = tokens[:, place] - FIRST_SYMBOL
            said = symbols >= 0
            joint = predicted * columns[symbols.clip(0)]
            total = np.where(said, joint.sum(axis=1), 1.0)
            likelihoods[place] = total
            belief = np.where(said[:, None], joint / total[:, None], beliefs[place - 1])
            beliefs[place] = belief
            predicted = belief @ self._transition
        return likelihoods.T, beliefs.transpose(1, 0, 2)
