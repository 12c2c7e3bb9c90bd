"""Tracking games as languages: moves change a hidden state, and the question is where it stands.

    parity      START 1 0 1 1 ODD END
    counter     START +3 +6 +1 =3 END            modulo 7, from 0
    shell_game  START at2 2-4 0-1 4-3 cup3 END   the ball begins under cup 2

The question may come after any move: next to every move stands the answer so far as its label.
"""

from __future__ import annotations

from abc import ABC
from itertools import combinations
from typing import ClassVar

import numpy as np

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import (
    END,
    START,
    Executor,
    IllegalStepError,
    IntArray,
    Language,
    Traces,
    count_strings,
    require_size,
)

FIRST_ANSWER = 2
"""State s as an answer is token FIRST_ANSWER + s; the moves follow, then the told starts."""


class Tracking(Language, ABC):
    """`size` moves through a table of states, then the state that they lead to.

    An input int64 [size], or [1 + size] where the start is told first, holds the start and the
    moves. Any answer is legal; the right one is the state after the last move.

    Args:
        answers: what each state is called when it is asked for.
        moves: what each move is called.
        table: int64 [num_states, num_moves]: the state that a move leads to.
        starts: what each state is called where a game tells its start; empty: it begins in 0.
    """

    def __init__(
        self,
        answers: tuple[str, ...],
        moves: tuple[str, ...],
        table: IntArray,
        starts: tuple[str, ...] = (),
    ) -> None:
        self.alphabet = ("START", "END", *answers, *moves, *starts)
        self.table = table
        self.num_states, self.num_moves = table.shape
        self._tells_start = bool(starts)
        self._first_move = FIRST_ANSWER + self.num_states
        self._first_start = self._first_move + self.num_moves

    def num_tokens(self, size: int) -> int:
        """START, perhaps the start, the moves, the answer, END."""
        require_size(size, 1, "move")
        return size + 3 + self._tells_start

    def num_inputs(self, size: int) -> float:
        """All strings of moves from all starts."""
        require_size(size, 1, "move")
        starts = self.num_states if self._tells_start else 1
        return starts * count_strings(size, self.num_moves)

    def draw_inputs(self, size: int, count: int, generator: np.random.Generator) -> IntArray:
        """Uniform starts, where they are told, and uniform moves."""
        require_size(size, 1, "move")
        moves = generator.integers(0, self.num_moves, size=(count, size))
        if not self._tells_start:
            return moves
        starts = generator.integers(0, self.num_states, size=(count, 1))
        return np.hstack([starts, moves])

    def write_traces(self, size: int, inputs: IntArray) -> Traces:
        """The moves and the answer; labels hold the answer so far from the first state on."""
        states = self.states(inputs)
        prompt_length = 1 + inputs.shape[1]
        tokens = np.empty((len(inputs), prompt_length + 2), dtype=np.int64)
        tokens[:, 0] = START
        tokens[:, prompt_length - size : prompt_length] = inputs[:, -size:] + self._first_move
        if self._tells_start:
            tokens[:, 1] = inputs[:, 0] + self._first_start
        tokens[:, prompt_length] = states[:, -1] + FIRST_ANSWER
        tokens[:, -1] = END
        labels = np.full_like(tokens, IGNORED_LABEL)
        labels[:, prompt_length - size : prompt_length + 1] = states + FIRST_ANSWER
        labels[:, -1] = END
        return Traces(tokens, labels, np.full(len(inputs), tokens.shape[1]), prompt_length)

    def executor(self, size: int, inputs: IntArray) -> TrackingExecutor:
        """The question is asked; the state itself is what is asked for."""
        return TrackingExecutor(self)

    def answer(self, size: int, inputs: IntArray) -> tuple[int, ...]:
        """The state after the last move."""
        told = int(self._tells_start)
        state, moves = (int(inputs[0]) if told else 0), inputs[told:].tolist()
        table = self.table.tolist()
        for move in moves:
            state = table[state][move]
        return (state,)

    def states(self, inputs: IntArray) -> IntArray:
        """States int64 [N, size + 1] before, between and after the moves of inputs [N, K]."""
        moves = inputs[:, self._tells_start :].T  # [T, N]
        states = np.zeros((len(moves) + 1, len(inputs)), dtype=np.int64)
        if self._tells_start:
            states[0] = inputs[:, 0]
        for step, move in enumerate(moves):
            states[step + 1] = self.table[states[step], move]
        return states.T


class TrackingExecutor(Executor):
    """Takes one answer, then END."""

    def __init__(self, language: Tracking) -> None:
        self._language = language
        self._answer: int | None = None
        self.ended = False

    def __str__(self) -> str:
        """The answer, once there is one."""
        if self._answer is None:
            return "no answer yet"
        return f"answer {self._language.alphabet[FIRST_ANSWER + self._answer]}"

    def feed(self, token: int) -> None:
        """Take the answer, or END after it."""
        if self.ended:
            raise IllegalStepError("the trace has ended")
        state, found = token - FIRST_ANSWER, self._language.spell([token])
        if self._answer is None:
            if not 0 <= state < self._language.num_states:
                raise IllegalStepError(f"an answer expected, not {found}")
            self._answer = state
        elif token == END:
            self.ended = True
        else:
            raise IllegalStepError(f"END expected, not {found} (the answer is given)")

    def answer(self) -> tuple[int, ...] | None:
        """The state that was answered."""
        return None if self._answer is None else (self._answer,)


class Parity(Tracking):
    """Bits; is the number of ones so far even or odd?"""

    name: ClassVar[str] = "parity"

    def __init__(self) -> None:
        super().__init__(("EVEN", "ODD"), ("0", "1"), _sums(2))


class Counter(Tracking):
    """A counter modulo `modulus`, from 0; a move adds any number from 0 to modulus - 1.

    Args:
        modulus: numbers on the counter, at least 2.

    Raises:
        ValueError: `modulus` is outside its range.
    """

    name: ClassVar[str] = "counter"

    def __init__(self, modulus: int = 7) -> None:
        if modulus < 2:
            raise ValueError(f"modulus must be at least 2, got {modulus}")
        numbers = range(modulus)
        answers, moves = (tuple(f"{sign}{n}" for n in numbers) for sign in "=+")
        super().__init__(answers, moves, _sums(modulus))


class ShellGame(Tracking):
    """A ball under one of `cups` cups; a move swaps two cups. Under which is the ball?

    Args:
        cups: at least 2.

    Raises:
        ValueError: `cups` is outside its range.
    """

    name: ClassVar[str] = "shell_game"

    def __init__(self, cups: int = 5) -> None:
        if cups < 2:
            raise ValueError(f"cups must be at least 2, got {cups}")
        pairs = list(combinations(range(cups), 2))
        table = np.tile(np.arange(cups)[:, None], (1, len(pairs)))
        for move, (left, right) in enumerate(pairs):
            table[left, move], table[right, move] = right, left
        answers, starts = (tuple(f"{word}{c}" for c in range(cups)) for word in ("cup", "at"))
        super().__init__(answers, tuple(f"{a}-{b}" for a, b in pairs), table, starts)


def _sums(modulus: int) -> IntArray:
    """table[s, m] = (s + m) mod `modulus`."""
    numbers = np.arange(modulus)
    return (numbers[:, None] + numbers) % modulus
