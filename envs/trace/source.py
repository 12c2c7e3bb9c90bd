"""A random source of symbols as a language: what Markov chains and hidden ones have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import (
    END,
    START,
    Executor,
    FloatArray,
    IllegalStepError,
    IntArray,
    Language,
    Traces,
    count_strings,
    require_size,
)

FIRST_SYMBOL = 2
"""Symbol v is token FIRST_SYMBOL + v."""


class Source(Language):
    """START, `size` symbols, END; the prompt is START alone.

    A source has no right token. Its measure is `optimal_nats`; executing what a model wrote only
    shows whether all of it are symbols. It does not learn when to end: END has no label, and a
    written trace is complete with its last symbol.
    """

    is_source: ClassVar[bool] = True

    @property
    def num_symbols(self) -> int:
        """How many different symbols there are."""
        return self.vocab_size - FIRST_SYMBOL

    @abstractmethod
    def optimal_nats(self, traces: Traces) -> FloatArray:
        """What the source itself knows: -log of its probability of each symbol, given the past."""

    def num_tokens(self, size: int) -> int:
        """The symbols, START and END."""
        require_size(size, 1, "symbol")
        return size + 2

    def num_inputs(self, size: int) -> float:
        """All strings of symbols."""
        require_size(size, 1, "symbol")
        return count_strings(size, self.num_symbols)

    def write_traces(self, size: int, inputs: IntArray) -> Traces:
        """The symbols between START and END; the loss falls on every symbol."""
        symbols = self.visible(inputs)
        tokens = np.empty((len(symbols), size + 2), dtype=np.int64)
        tokens[:, 0], tokens[:, -1] = START, END
        tokens[:, 1:-1] = symbols + FIRST_SYMBOL
        labels = tokens.copy()
        labels[:, 0] = labels[:, -1] = IGNORED_LABEL
        return Traces(tokens, labels, np.full(len(symbols), size + 2), 1)

    def executor(self, size: int, inputs: IntArray) -> SourceExecutor:
        """Counts symbols."""
        return SourceExecutor(self, size)

    def answer(self, size: int, inputs: IntArray) -> tuple[int, ...]:
        """Nothing is computed: the empty answer."""
        return ()


class SourceExecutor(Executor):
    """How many symbols are still to be said; any symbol will do."""

    def __init__(self, language: Source, size: int) -> None:
        self._language = language
        self._num_due = size
        self.ended = False

    def __str__(self) -> str:
        """The number of symbols that are missing."""
        return f"{self._num_due} symbols to go"

    def feed(self, token: int) -> None:
        """Take a symbol; the last one ends the trace."""
        if self.ended:
            raise IllegalStepError("the trace has ended")
        if not FIRST_SYMBOL <= token < self._language.vocab_size:
            found = self._language.spell([token])
            raise IllegalStepError(f"a symbol expected, not {found} ({self})")
        self._num_due -= 1
        self.ended = self._num_due == 0

    def answer(self) -> tuple[int, ...] | None:
        """Empty at the end, None before it."""
        return () if self.ended else None


def stationary_distribution(transition: FloatArray) -> FloatArray:
    """The distribution float64 [S] that a row-stochastic matrix [S, S] leaves as it is."""
    num_states = len(transition)
    equations = np.vstack([transition.T - np.eye(num_states), np.ones(num_states)])
    solution, *_ = np.linalg.lstsq(equations, np.eye(num_states + 1)[-1], rcond=None)
    distribution: FloatArray = solution / solution.sum()
    return distribution


class Categorical:
    """Draws columns of a table of distributions, one row chosen for each draw.

    Args:
        probabilities: float64 [R, V], each row a distribution.
    """

    def __init__(self, probabilities: FloatArray) -> None:
        self._num_rows, self._num_columns = probabilities.shape
        edges = probabilities.cumsum(axis=1)
        edges[:, -1] = 1.0
        # Row r occupies the stretch from r to r + 1, so that one sorted search serves all rows.
        self._edges = (edges + np.arange(self._num_rows)[:, None]).ravel()

    def draw(self, rows: IntArray, uniforms: FloatArray) -> IntArray:
        """Columns int64 [...] for rows int64 [...] and uniforms in [0, 1), by inversion."""
        found = np.searchsorted(self._edges, rows + uniforms, side="right")
        # A sum may round up to the next row's beginning.
        return np.minimum(found - rows * self._num_columns, self._num_columns - 1)


def draw_chain(
    start: FloatArray,
    transition: FloatArray,
    shape: tuple[int, int],
    generator: np.random.Generator,
) -> IntArray:
    """Walks int64 [N, T] of a chain; first states from [S], moves from [S, S]."""
    uniforms = generator.random(shape).T.copy()  # [T, N]
    states = np.empty(uniforms.shape, dtype=np.int64)
    steps = Categorical(transition)
    for step, row in enumerate(uniforms):
        if step == 0:
            states[0] = Categorical(start[None]).draw(np.zeros(shape[0], dtype=np.int64), row)
        else:
            states[step] = steps.draw(states[step - 1], row)
    return np.ascontiguousarray(states.T)


def mean_entropy(weights: FloatArray, distributions: FloatArray) -> float:
    """Entropy in nats of distributions [R, V], averaged with weights [R]."""
    logs = np.log(distributions, out=np.zeros_like(distributions), where=distributions > 0)
    return float(-(weights[:, None] * distributions * logs).sum())
