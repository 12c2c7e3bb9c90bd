"""What a token language is: alphabet, inputs, the true trace of each, an executor of traces.

A trace is one row of tokens: a prompt that is given, then what a model has to write, then END.
Every language of this package is a `Language`; trainers, evaluators and environments know this
class alone. Pure rules and numpy: no torch, no Ray.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

START, END = 0, 1
"""The first and the last token of a trace in every language; END is the padding as well."""


class Traces(NamedTuple):
    """N traces of one size, right-padded with END to T tokens."""

    tokens: IntArray
    """int64 [N, T]: what a model reads."""
    labels: IntArray
    """int64 [N, T]: what it should say at each place, having read the tokens before that place;
    IGNORED_LABEL where the trace is not determined (the random input) and on padding. Mostly the
    tokens themselves. In a tracking language, whose question may come after any move, the answer
    so far stands next to every move: a game shares its tokens with all that it begins with."""
    lengths: IntArray
    """int64 [N]: tokens of each trace, START and END included."""
    prompt_length: int
    """Tokens that are given, the same for all inputs of one size."""


class IllegalStepError(ValueError):
    """A token that the real state does not allow; the message says what would have been right."""


class Executor(ABC):
    """The real state behind one trace, moved by its tokens; `str` describes it in a line.

    Attributes:
        ended: whether the trace is complete: END was read, or a source has said all its tokens.
    """

    ended: bool = False

    @abstractmethod
    def feed(self, token: int) -> None:
        """Apply the next token after the prompt.

        Raises:
            IllegalStepError: the state does not allow it; the state is unchanged.
        """

    @abstractmethod
    def answer(self) -> tuple[int, ...] | None:
        """What the steps so far have computed; None where there is no answer yet."""


@dataclass(frozen=True)
class Verdict:
    """What executing one written trace has shown."""

    exact: bool
    """Every step was legal, the trace ended, and its answer is the right one."""
    answer: tuple[int, ...] | None
    """What the executed trace has computed, up to the first illegal step."""
    truth: tuple[int, ...]
    """The right answer, computed without a trace."""
    illegal_at: int | None
    """Index in the trace (the prompt counted) of the first illegal token; None: all legal."""
    reason: str
    """Why that token is illegal, or why a legal trace has no right answer; empty where exact."""
    differs_at: int | None
    """Index of the first token that is not the true trace's; None: the same to the end."""


class Language(ABC):
    """An algorithm, or a random source, as a language of tokens.

    Everything that is random comes from the generator that is passed in. A language has no state:
    equal arguments make equal languages, in every process.

    Attributes:
        name: its row in `languages.LANGUAGES`.
        alphabet: what each token id is called; ids 0 and 1 are START and END (CartPole's tokens
            carry their own names for these).
        is_source: a random source: the next token is drawn, there is no right one, and the
            measure is nats above the optimal prediction. Otherwise the trace is determined.
    """

    name: ClassVar[str]
    is_source: ClassVar[bool] = False
    alphabet: tuple[str, ...]

    @abstractmethod
    def num_tokens(self, size: int) -> int:
        """Tokens of the longest trace of inputs of `size`, START and END included.

        Raises:
            ValueError: there are no inputs of this size; the message gives the range.
        """

    @abstractmethod
    def num_inputs(self, size: int) -> float:
        """How many different inputs of `size` there are (inf where nobody counts)."""

    @abstractmethod
    def draw_inputs(self, size: int, count: int, generator: np.random.Generator) -> IntArray:
        """Random inputs int64 [count, K]; K depends on the size alone."""

    @abstractmethod
    def write_traces(self, size: int, inputs: IntArray) -> Traces:
        """The true traces of inputs int64 [N, K]."""

    @abstractmethod
    def executor(self, size: int, inputs: IntArray) -> Executor:
        """The real state of one input int64 [K], after its prompt.

        It takes the input and not the prompt because a prompt may hide part of the real state
        (CartPole's tokens are quantised).
        """

    @abstractmethod
    def answer(self, size: int, inputs: IntArray) -> tuple[int, ...]:
        """The right answer to one input int64 [K], computed without a trace."""

    def visible(self, inputs: IntArray) -> IntArray:
        """What traces show of inputs int64 [N, K]; inputs that look alike share a part of the
        split."""
        return inputs

    def optimal_nats(self, traces: Traces) -> FloatArray:
        """What an optimal predictor pays for each label, float64 [N, T], in nats.

        Zero where the label is determined or ignored; a source computes it from its true
        parameters.
        """
        return np.zeros(traces.tokens.shape)

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return len(self.alphabet)

    def spell(self, tokens: Sequence[int] | IntArray) -> str:
        """Token ids as names, separated by spaces; an id outside the alphabet as `<id>`."""
        known = range(self.vocab_size)
        return " ".join(self.alphabet[t] if t in known else f"<{t}>" for t in map(int, tokens))

    def verify(self, size: int, inputs: IntArray, written: IntArray) -> Verdict:
        """Execute one written trace int64 [T] of one input int64 [K]; see `verify_all`."""
        return self.verify_all(size, inputs[None], written[None])[0]

    def verify_all(
        self, size: int, inputs: IntArray, written: IntArray | Sequence[IntArray]
    ) -> list[Verdict]:
        """Execute written traces against the truth.

        A trace is exact when every step is legal, the executor says that it has ended, and its
        answer is right. A source has no wrong answer: there, exact means legal to the end.

        Args:
            size: of the inputs.
            inputs: int64 [N, K].
            written: N rows int64 [T], prompts and continuations, of one length or several; what
                follows the end is not read.
        """
        true = self.write_traces(size, inputs)
        given = true.prompt_length
        verdicts = []
        for row, (tokens, length) in enumerate(zip(written, true.lengths, strict=True)):
            executed = self._execute(size, inputs[row], tokens[given:].tolist(), given)
            differs_at = first_difference(tokens, true.tokens[row, :length])
            verdicts.append(replace(executed, differs_at=differs_at))
        return verdicts

    def _execute(self, size: int, inputs: IntArray, tokens: list[int], given: int) -> Verdict:
        """Feed the tokens after a prompt of `given` tokens; `differs_at` is not looked for."""
        truth = self.answer(size, inputs)
        executor = self.executor(size, inputs)
        for place, token in enumerate(tokens, given):
            if executor.ended:
                break
            try:
                executor.feed(token)
            except IllegalStepError as error:
                return Verdict(False, executor.answer(), truth, place, str(error), None)
        answer = executor.answer()
        if not executor.ended:
            return Verdict(False, answer, truth, None, "the trace does not end", None)
        exact = answer == truth
        reason = "" if exact else f"the answer is {answer}, not {truth}"
        return Verdict(exact, answer, truth, None, reason, None)


def first_difference(written: IntArray, true: IntArray) -> int | None:
    """Index of the first token of `true` that `written` does not repeat; None where all are."""
    shared = min(len(written), len(true))
    differing = np.flatnonzero(written[:shared] != true[:shared])
    if differing.size:
        return int(differing[0])
    return None if len(written) >= len(true) else shared


def require_size(size: int, smallest: int, unit: str) -> None:
    """Refuse inputs smaller than `smallest`.

    Raises:
        ValueError: names the size, the unit and the range.
    """
    if size < smallest:
        raise ValueError(f"sizes begin at {smallest} {unit}, got {size}")


def count_strings(length: int, num_symbols: int) -> float:
    """How many strings of `length` symbols there are; inf beyond what a float holds."""
    try:
        return float(num_symbols) ** length
    except OverflowError:
        return math.inf
