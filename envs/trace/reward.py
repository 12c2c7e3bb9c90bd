"""What a written trace earns: the contract of the environments and of learning by reinforcement.

A token that the real state allows earns a small share, a right answer 1; an illegal token, a wrong
answer and a trace that does not end cost 1 and end the episode. The shares of a whole trace add up
to `LEGAL_TOTAL`, so that every legal token is progress where nearly all traces still fail, and no
trace that fails earns more than nothing. There is no safe way out: END at once costs as much as an
illegal step, and an answer that is right by luck forgoes the shares of the steps left out.

The rules are one class, `Referee`, which the environments ask token by token and `trace_rewards`
for whole batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parley.envs.trace.language import (
    FloatArray,
    IllegalStepError,
    IntArray,
    Language,
    Traces,
)

LEGAL_TOTAL = 1.0
"""What a legal trace of the largest length of its size earns by being legal."""
RIGHT, WRONG, ILLEGAL = 1.0, -1.0, -1.0


class Step(NamedTuple):
    """What one token has earned."""

    reward: float
    over: bool
    """The trace has ended, by END, by an illegal token or by its length."""
    reason: str
    """Why it was lost; empty where it was not."""


class Referee:
    """Reads one trace token by token and says what each token earns.

    In a determined language: `LEGAL_TOTAL / n` for a legal token, n being the most tokens that a
    trace of this size can hold after its prompt; `RIGHT` or `WRONG` besides for the END that
    answers; `ILLEGAL` for an illegal token; `WRONG` for the n-th token where it is not END.

    In a source no token is right, and a symbol earns how much likelier it was under the true
    source than under a uniform guess, log(p V) / n in nats with V symbols; the trace is over
    when its executor says so.

    Args:
        language: the rules.
        size: of the input.
        inputs: int64 [K], the input.
        true: its true trace, where the caller has it: `language.write_traces(size, inputs[None])`.

    Attributes:
        exact: whether the trace is complete and has the right answer; a source has no wrong one.
        illegal: whether an illegal token ended it.
    """

    def __init__(
        self, language: Language, size: int, inputs: IntArray, true: Traces | None = None
    ) -> None:
        if true is None:
            true = language.write_traces(size, inputs[None])
        given = true.prompt_length
        self._language, self._size, self._inputs = language, size, inputs
        self._tokens = true.tokens[0, :given].tolist()
        self._given = given
        self._num_steps = language.num_tokens(size) - given
        self._executor = language.executor(size, inputs)
        self.exact = self.illegal = False

    def read(self, token: int) -> Step:
        """What the next token earns; not to be asked once the trace is over."""
        try:
            self._executor.feed(token)
        except IllegalStepError as error:
            self.illegal = True
            return Step(ILLEGAL, True, str(error))
        self._tokens.append(token)
        full = len(self._tokens) - self._given >= self._num_steps
        if self._language.is_source:
            self.exact = self._executor.ended
            return Step(self._surprise() / self._num_steps, self.exact or full, "")
        share = LEGAL_TOTAL / self._num_steps
        if self._executor.ended:
            answer, truth = self._executor.answer(), self._language.answer(self._size, self._inputs)
            self.exact = answer == truth
            reason = "" if self.exact else f"the answer is {answer}, not {truth}"
            return Step(share + (RIGHT if self.exact else WRONG), True, reason)
        if full:
            return Step(share + WRONG, True, "the trace does not end")
        return Step(share, False, "")

    def _surprise(self) -> float:
        """Nats that the true source saves on the newest token against a uniform guess."""
        tokens = np.array(self._tokens, np.int64)[None]
        traces = Traces(tokens, tokens, np.array([tokens.shape[1]]), self._given)
        nats = self._language.optimal_nats(traces)[0, -1]
        return math.log(self._language.vocab_size - 2) - float(nats)


@dataclass(frozen=True)
class TraceRewards:
    """What N written traces have earned, W tokens after the prompt each."""

    rewards: FloatArray
    """float64 [N, W]: of each written token; 0 once the trace was over."""
    counts: IntArray
    """int64 [N]: written tokens up to the one with which the trace was over."""
    exact: NDArray[np.bool_]
    """bool [N]: legal, ended, with the right answer."""
    illegal: NDArray[np.bool_]
    """bool [N]: over by an illegal token."""


def trace_rewards(
    language: Language, size: int, inputs: IntArray, written: IntArray
) -> TraceRewards:
    """What N traces have earned token by token; see `Referee`.

    Args:
        language: the rules.
        size: of the inputs.
        inputs: int64 [N, K].
        written: int64 [N, T], prompts and continuations; what follows END is not read.
    """
    true = language.write_traces(size, inputs)
    given = true.prompt_length
    num_rows, num_written = len(written), written.shape[1] - given
    rewards = np.zeros((num_rows, num_written))
    counts = np.full(num_rows, num_written)
    exact, illegal = np.zeros((2, num_rows), np.bool_)
    for row, tokens in enumerate(written[:, given:].tolist()):
        one = Traces(true.tokens[row, None], true.labels[row, None], true.lengths[row, None], given)
        referee = Referee(language, size, inputs[row], one)
        for place, token in enumerate(tokens):
            step = referee.read(token)
            rewards[row, place] = step.reward
            if step.over:
                counts[row] = place + 1
                break
        exact[row], illegal[row] = referee.exact, referee.illegal
    return TraceRewards(rewards, counts, exact, illegal)
