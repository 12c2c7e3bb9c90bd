"""Bubble sort as a language: every comparison, its decision, and the array that follows from it.

    START ^ 3 1 2 |  COMPARE SWAP 1 ^ 3 2 |  COMPARE SWAP ^ 1 2 | 3  COMPARE KEEP ^ 1 | 2 3  END

The cursor ^ stands in front of the pair that is compared next, the wall | in front of the elements
that are in place. They make every token depend on what stands nearby: the pair, and the same place
of the array before. Without marks the array is the elements alone.
"""

from __future__ import annotations

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

COMPARE, SWAP, KEEP, CURSOR, WALL, FIRST_VALUE = 2, 3, 4, 5, 6, 7
"""Token ids; value v is FIRST_VALUE + v."""


class Sorting(Language):
    """Bubble sort of `size` values; passes shrink, and none is left out.

    An input int64 [size] holds the values; the answer is the sorted array. A decision moves the
    real array, whether it is right or wrong; the array that is written after it is a claim, and a
    token that is not the real array's is illegal. END is legal wherever a step could begin: it
    answers with the real array as it is.

    Args:
        num_values: values are 0 to num_values - 1, at least 2.
        marks: write the cursor and the wall into the array.

    Raises:
        ValueError: `num_values` is outside its range.
    """

    name: ClassVar[str] = "sorting"

    def __init__(self, num_values: int = 16, marks: bool = True) -> None:
        if num_values < 2:
            raise ValueError(f"num_values must be at least 2, got {num_values}")
        self.num_values = num_values
        self.marks = marks
        values = (str(value) for value in range(num_values))
        self.alphabet = ("START", "END", "COMPARE", "SWAP", "KEEP", "^", "|", *values)

    def num_tokens(self, size: int) -> int:
        """START, the array, a step for each pair of elements, END."""
        require_size(size, 2, "elements")
        num_steps = size * (size - 1) // 2
        return 1 + self._array_tokens(size) + num_steps * (2 + self._array_tokens(size)) + 1

    def num_inputs(self, size: int) -> float:
        """All arrays of `size` values."""
        require_size(size, 2, "elements")
        return count_strings(size, self.num_values)

    def draw_inputs(self, size: int, count: int, generator: np.random.Generator) -> IntArray:
        """Uniform values int64 [count, size]."""
        require_size(size, 2, "elements")
        return generator.integers(0, self.num_values, size=(count, size))

    def write_traces(self, size: int, inputs: IntArray) -> Traces:
        """The true traces; the loss falls on all that stands behind the first array."""
        width = self._array_tokens(size)
        prompt_length = 1 + width
        tokens = np.empty((len(inputs), self.num_tokens(size)), dtype=np.int64)
        tokens[:, 0] = START
        values = inputs.copy()
        cursor, wall = 0, size
        tokens[:, 1:prompt_length] = self.write_arrays(values, cursor, wall)
        place = prompt_length
        while wall > 1:
            left, right = values[:, cursor].copy(), values[:, cursor + 1].copy()
            values[:, cursor] = np.minimum(left, right)
            values[:, cursor + 1] = np.maximum(left, right)
            tokens[:, place] = COMPARE
            tokens[:, place + 1] = np.where(left > right, SWAP, KEEP)
            cursor, wall = next_pair(cursor, wall)
            tokens[:, place + 2 : place + 2 + width] = self.write_arrays(values, cursor, wall)
            place += 2 + width
        tokens[:, -1] = END
        labels = tokens.copy()
        labels[:, :prompt_length] = IGNORED_LABEL
        return Traces(tokens, labels, np.full(len(inputs), tokens.shape[1]), prompt_length)

    def executor(self, size: int, inputs: IntArray) -> SortingExecutor:
        """The array before its first comparison."""
        return SortingExecutor(self, inputs)

    def answer(self, size: int, inputs: IntArray) -> tuple[int, ...]:
        """The sorted array."""
        return tuple(sorted(map(int, inputs)))

    def write_arrays(self, values: IntArray, cursor: int, wall: int) -> IntArray:
        """Write arrays int64 [N, size] as tokens, with the marks in front of their elements."""
        elements = values + FIRST_VALUE
        if not self.marks:
            return elements
        return np.insert(elements, [cursor, wall], [CURSOR, WALL], axis=1)

    def _array_tokens(self, size: int) -> int:
        return size + 2 if self.marks else size


def next_pair(cursor: int, wall: int) -> tuple[int, int]:
    """Cursor and wall after the comparison at `cursor`; the wall is at 1 when all is done."""
    return (cursor + 1, wall) if cursor + 2 < wall else (0, wall - 1)


class SortingExecutor(Executor):
    """The real array, where the next comparison looks, and what must be written of them."""

    def __init__(self, language: Sorting, values: IntArray) -> None:
        self._language = language
        self._values = values.astype(np.int64)
        self._cursor, self._wall = 0, len(values)
        self._decision_due = False
        self._array_due: list[int] = []  # the next token last
        self.ended = False

    def __str__(self) -> str:
        """The real array with its marks."""
        marked = [str(value) for value in self._values]
        marked.insert(self._wall, "|")
        marked.insert(self._cursor, "^")
        return " ".join(marked)

    def feed(self, token: int) -> None:
        """Begin or end, move the real array, or check a token of the written one."""
        if self.ended:
            raise IllegalStepError("the trace has ended")
        if self._array_due:
            self._require(token, self._array_due[-1])
            self._array_due.pop()
        elif self._decision_due:
            self._require(token, SWAP, KEEP)
            self._decide(swap=token == SWAP)
        elif self._wall > 1:
            self._require(token, COMPARE, END)
            self._decision_due, self.ended = token == COMPARE, token == END
        else:
            self._require(token, END)
            self.ended = True

    def answer(self) -> tuple[int, ...]:
        """The real array as it is now."""
        return tuple(map(int, self._values))

    def _decide(self, swap: bool) -> None:
        pair = slice(self._cursor, self._cursor + 2)
        if swap:
            self._values[pair] = self._values[pair][::-1].copy()
        self._cursor, self._wall = next_pair(self._cursor, self._wall)
        written = self._language.write_arrays(self._values[None], self._cursor, self._wall)
        self._array_due = written[0, ::-1].tolist()
        self._decision_due = False

    def _require(self, token: int, *due: int) -> None:
        if token not in due:
            names = " or ".join(self._language.alphabet[each] for each in due)
            found = self._language.spell([token])
            raise IllegalStepError(f"{names} expected, not {found} (the array is {self})")
