"""Addition of two numbers as a language: digit and carry of every place, from the right.

    reversed   START 7 5 + 8 4 = 5 C1 0 C1 1 END             57 + 48 = 105, units first
    msd        START 5 7 + 4 8 = 5 C1 0 C1 ANSWER 1 0 5 END  as people write numbers

The digit of a place comes before its carry: it needs the two digits of the place and the token just
read, the carry into it; the carry needs the same and no other place. In "msd" the sum is copied
out, most significant digit first, when the work is done.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

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

Order = Literal["reversed", "msd"]

PLUS, EQUALS, CARRY, ANSWER, FIRST_DIGIT = 2, 3, 4, 6, 7
"""Token ids; no carry is CARRY, a carry CARRY + 1; digit d is FIRST_DIGIT + d."""
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Addition(Language):
    """Sums of two numbers of `size` digits each, leading zeros allowed.

    An input int64 [2 * size] holds the digits of the first number, units first, then those of the
    second. The answer is the sum in size + 1 digits, most significant first. Every digit and
    carry of the work is a claim: where it is not that of the real sum, it is illegal. What stands
    behind ANSWER is taken as the answer, right or wrong.

    Args:
        base: of the digits, 2 to 36.
        order: "reversed" writes numbers units first, "msd" most significant digit first.

    Raises:
        ValueError: an argument is outside its range.
    """

    name: ClassVar[str] = "addition"

    def __init__(self, base: int = 10, order: Order = "reversed") -> None:
        if not 2 <= base <= len(DIGITS):
            raise ValueError(f"base must be between 2 and {len(DIGITS)}, got {base}")
        if order not in get_args(Order):
            raise ValueError(f"order must be one of {get_args(Order)}, got {order!r}")
        self.base = base
        self.order = order
        self.alphabet = ("START", "END", "+", "=", "C0", "C1", "ANSWER", *DIGITS[:base])

    def num_tokens(self, size: int) -> int:
        """The prompt, two tokens of each place, and the last digit or the whole answer."""
        require_size(size, 1, "digit")
        answer = 1 if self.order == "reversed" else size + 2
        return (2 * size + 3) + 2 * size + answer + 1

    def num_inputs(self, size: int) -> float:
        """All pairs of digit strings."""
        require_size(size, 1, "digit")
        return count_strings(2 * size, self.base)

    def draw_inputs(self, size: int, count: int, generator: np.random.Generator) -> IntArray:
        """Uniform digits int64 [count, 2 * size]."""
        require_size(size, 1, "digit")
        return generator.integers(0, self.base, size=(count, 2 * size))

    def write_traces(self, size: int, inputs: IntArray) -> Traces:
        """The true traces; the loss falls on all that stands behind "="."""
        num_rows, prompt_length = len(inputs), 2 * size + 3
        digits, carries = self._add(size, inputs)
        tokens = np.empty((num_rows, self.num_tokens(size)), dtype=np.int64)
        shown = inputs.reshape(num_rows, 2, size) + FIRST_DIGIT
        if self.order == "msd":
            shown = shown[:, :, ::-1]
        tokens[:, 0] = START
        tokens[:, 1 : size + 1] = shown[:, 0]
        tokens[:, size + 1] = PLUS
        tokens[:, size + 2 : -1][:, :size] = shown[:, 1]
        tokens[:, prompt_length - 1] = EQUALS
        work_end = prompt_length + 2 * size
        tokens[:, prompt_length:work_end:2] = digits[:, :size] + FIRST_DIGIT
        tokens[:, prompt_length + 1 : work_end : 2] = carries + CARRY
        if self.order == "reversed":
            tokens[:, work_end] = digits[:, size] + FIRST_DIGIT
        else:
            tokens[:, work_end] = ANSWER
            tokens[:, work_end + 1 : -1] = digits[:, ::-1] + FIRST_DIGIT
        tokens[:, -1] = END
        labels = tokens.copy()
        labels[:, :prompt_length] = IGNORED_LABEL
        return Traces(tokens, labels, np.full(num_rows, tokens.shape[1]), prompt_length)

    def executor(self, size: int, inputs: IntArray) -> AdditionExecutor:
        """The sum before its first place is worked out."""
        return AdditionExecutor(self, inputs[:size].tolist(), inputs[size:].tolist())

    def answer(self, size: int, inputs: IntArray) -> tuple[int, ...]:
        """The digits of the sum, by Python's own addition of whole numbers."""
        values = [
            sum(int(digit) * self.base**place for place, digit in enumerate(number))
            for number in (inputs[:size], inputs[size:])
        ]
        total, digits = sum(values), []
        for _ in range(size + 1):
            total, digit = divmod(total, self.base)
            digits.append(digit)
        return tuple(reversed(digits))

    def _add(self, size: int, inputs: IntArray) -> tuple[IntArray, IntArray]:
        """Digits [N, size + 1] of the sums and carries [N, size] out of each place, units first."""
        totals = inputs[:, :size] + inputs[:, size:]
        digits = np.empty((len(inputs), size + 1), dtype=np.int64)
        carries = np.empty((len(inputs), size), dtype=np.int64)
        carry = np.zeros(len(inputs), dtype=np.int64)
        for place in range(size):
            total = totals[:, place] + carry
            carry = (total >= self.base).astype(np.int64)
            digits[:, place] = total - self.base * carry
            carries[:, place] = carry
        digits[:, size] = carry
        return digits, carries


class AdditionExecutor(Executor):
    """The place that is worked on, the real carry into it, and what is written of the answer."""

    def __init__(self, language: Addition, first: list[int], second: list[int]) -> None:
        self._language = language
        self._first, self._second = first, second
        self._place, self._carry = 0, 0
        self._carry_due = False
        self._work: list[int] = []
        self._answering = False
        self._written: list[int] = []
        self.ended = False

    def __str__(self) -> str:
        """The digits that are known, most significant first, and the carry."""
        known = self._written if self._answering else self._work[::-1]
        digits = "".join(DIGITS[digit] for digit in known)
        return f"place {self._place + 1}, carry {self._carry}, digits {digits or '-'}"

    def feed(self, token: int) -> None:
        """Check a digit or carry of the work, or take one token of the answer."""
        if self.ended:
            raise IllegalStepError("the trace has ended")
        if self._place < len(self._first):
            self._feed_work(token)
        elif self._language.order == "reversed" and len(self._work) == self._place:
            self._require(token, FIRST_DIGIT + self._carry, "the last carry is the first digit")
            self._work.append(self._carry)
        elif self._language.order == "msd" and not self._answering:
            self._require(token, ANSWER, "all places are worked out")
            self._answering = True
        elif self._answering and len(self._written) <= self._place:
            digit = token - FIRST_DIGIT
            if not 0 <= digit < self._language.base:
                raise IllegalStepError(f"a digit of the answer expected, not {self._name(token)}")
            self._written.append(digit)
        else:
            self._require(token, END, "the sum is complete")
            self.ended = True

    def answer(self) -> tuple[int, ...] | None:
        """The written sum, most significant digit first; None before its last digit."""
        written = self._written if self._answering else self._work[::-1]
        return tuple(written) if len(written) == len(self._first) + 1 else None

    def _feed_work(self, token: int) -> None:
        first, second = self._first[self._place], self._second[self._place]
        carry, digit = divmod(first + second + self._carry, self._language.base)
        due = CARRY + carry if self._carry_due else FIRST_DIGIT + digit
        names = DIGITS[first], DIGITS[second], self._carry
        self._require(token, due, "place {}: {} + {} + carry {}".format(self._place + 1, *names))
        if self._carry_due:
            self._place, self._carry = self._place + 1, carry
        else:
            self._work.append(digit)
        self._carry_due = not self._carry_due

    def _require(self, token: int, due: int, why: str) -> None:
        if token != due:
            raise IllegalStepError(f"{self._name(due)} expected, not {self._name(token)} ({why})")

    def _name(self, token: int) -> str:
        return self._language.spell([token])
