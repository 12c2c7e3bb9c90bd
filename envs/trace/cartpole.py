"""CartPole's token language as one of traces: episodes of an expert, executed by the real physics.

    RESET x5 dx4 a5 da4 LEFT x5 dx3 a5 da6 RIGHT ... DONE

Tokens, physics and controller are those of `envs/cartpole`; RESET and DONE are START and END.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from parley.envs.cartpole.controllers import ExpertController
from parley.envs.cartpole.physics import START_RANGE, has_fallen, step_states
from parley.envs.cartpole.tokens import (
    ACT_LEFT,
    ACT_RIGHT,
    DONE,
    RESET,
    STATE_DIMS,
    STEP_TOKENS,
    CartPoleTokenizer,
)
from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import (
    Executor,
    FloatArray,
    IllegalStepError,
    IntArray,
    Language,
    Traces,
    require_size,
)

RESOLUTION = 2**31
"""Inputs are whole numbers below this: shares of the start's range, or uniform random numbers."""
DIMENSION_NAMES = ("x", "dx", "a", "da")
"""Position, velocity, pole angle, angular velocity."""


class CartPole(Language):
    """Episodes of `size` steps in which an expert balances a pole; shorter where it falls.

    An input int64 [4 + size] holds the start state and one random number for each step, in units
    of 1 / RESOLUTION. The prompt is
    RESET and the start state's tokens. Actions are always legal and move the real cart; the tokens
    of a state are claims about it. The trace is complete after `size` steps or when the pole has
    fallen; the answer is the number of steps for which it stood, and `size` is the right one.

    A source: the real state stands behind its tokens, so that they do not determine what
    follows. No optimal predictor is known; `optimal_nats` is 0, what one would pay that sees the
    real state. Labels of actions are the expert's choice, also where it acted at random. DONE has
    no label: how long an episode goes on is a setting.

    Args:
        num_bins: bins per state dimension, at least 2.
        epsilon: probability that the expert acts at random, 0 to 1.

    Raises:
        ValueError: an argument is outside its range.
    """

    name: ClassVar[str] = "cartpole"
    is_source: ClassVar[bool] = True

    def __init__(self, num_bins: int = 10, epsilon: float = 0.0) -> None:
        self.tokenizer = CartPoleTokenizer(num_bins)
        self._expert = ExpertController(epsilon)
        bins = (f"{name}{bin}" for name in DIMENSION_NAMES for bin in range(num_bins))
        self.alphabet = ("RESET", "DONE", "LEFT", "RIGHT", *bins)

    def num_tokens(self, size: int) -> int:
        """The start and `size` steps of five tokens each, and DONE."""
        require_size(size, 1, "step")
        return STEP_TOKENS * (size + 1) + 1

    def num_inputs(self, size: int) -> float:
        """Nobody counts."""
        require_size(size, 1, "step")
        return float("inf")

    def draw_inputs(self, size: int, count: int, generator: np.random.Generator) -> IntArray:
        """Uniform start states, as CartPole's, and uniform random numbers."""
        require_size(size, 1, "step")
        return generator.integers(0, RESOLUTION, size=(count, STATE_DIMS + size))

    def visible(self, inputs: IntArray) -> IntArray:
        """The tokens of the whole episode: starts that look alike mostly lead to the same one."""
        return self.write_traces(inputs.shape[1] - STATE_DIMS, inputs).tokens

    def write_traces(self, size: int, inputs: IntArray) -> Traces:
        """Let the expert play; the loss falls on all actions and states behind the start."""
        num_rows = len(inputs)
        states = start_states(inputs)
        uniforms = inputs[:, STATE_DIMS:].T / RESOLUTION  # [size, N]
        rows = np.empty((size + 1, num_rows, STEP_TOKENS), dtype=np.int64)
        choices = np.empty((size + 1, num_rows), dtype=np.int64)
        standing = np.ones((size + 2, num_rows), dtype=np.bool_)  # before each step
        rows[0, :, 0], rows[0, :, 1:] = RESET, self.tokenizer.encode_state(states)
        for step in range(1, size + 1):
            to_the_right = self._expert.right_probability(states)
            actions = (uniforms[step - 1] < to_the_right).astype(np.int64)
            states = step_states(states, actions)
            rows[step, :, 0], rows[step, :, 1:] = actions, self.tokenizer.encode_state(states)
            choices[step] = to_the_right > 0.5
            standing[step + 1] = standing[step] & ~has_fallen(states)
        rows[1:, :, 0] += ACT_LEFT
        labels = rows.copy()
        labels[1:, :, 0] = choices[1:] + ACT_LEFT
        labels[0] = IGNORED_LABEL
        over = ~standing[:-1]
        rows[over], labels[over] = DONE, IGNORED_LABEL
        return Traces(
            _join_steps(rows, DONE),
            _join_steps(labels, IGNORED_LABEL),
            STEP_TOKENS * standing[:-1].sum(axis=0) + 1,
            STEP_TOKENS,
        )

    def executor(self, size: int, inputs: IntArray) -> CartPoleExecutor:
        """The real cart at its start."""
        return CartPoleExecutor(self, size, start_states(inputs[None]))

    def answer(self, size: int, inputs: IntArray) -> tuple[int, ...]:
        """The pole should stand for all steps."""
        return (size,)


def start_states(inputs: IntArray) -> FloatArray:
    """Start states float64 [N, 4] of inputs int64 [N, 4 or more], within +-START_RANGE."""
    return (inputs[:, :STATE_DIMS] / RESOLUTION * 2 - 1) * START_RANGE


def _join_steps(steps: IntArray, end: int) -> IntArray:
    """From [size + 1, N, 5], rows [N, 5 * (size + 1) + 1] with `end` behind the last step."""
    num_rows = steps.shape[1]
    joined = steps.transpose(1, 0, 2).reshape(num_rows, -1)
    return np.hstack([joined, np.full((num_rows, 1), end)])


class CartPoleExecutor(Executor):
    """The real cart, and which tokens of its state must still be written."""

    def __init__(self, language: CartPole, size: int, state: FloatArray) -> None:
        self._language, self._size = language, size
        self._state = state  # [1, 4]
        self._tokens_due: list[int] = []  # the next one last
        self._num_stood = 0
        self._fallen = False
        self.ended = False

    def __str__(self) -> str:
        """The real state in metres and radians, and their rates."""
        pairs = zip(DIMENSION_NAMES, self._state[0], strict=True)
        return " ".join(f"{name}={value:+.3f}" for name, value in pairs)

    def feed(self, token: int) -> None:
        """Push the real cart, or check a token of its state."""
        if self.ended:
            raise IllegalStepError("the trace has ended")
        if self._tokens_due:
            self._require(token, self._tokens_due[-1])
            self._tokens_due.pop()
        else:
            self._require(token, ACT_LEFT, ACT_RIGHT)
            self._push(token - ACT_LEFT)
        self.ended = not self._tokens_due and (self._fallen or self._num_stood == self._size)

    def answer(self) -> tuple[int, ...]:
        """Steps after which the pole stood."""
        return (self._num_stood,)

    def _push(self, action: int) -> None:
        self._state = step_states(self._state, np.array([action]))
        self._tokens_due = self._language.tokenizer.encode_state(self._state)[0, ::-1].tolist()
        self._fallen = bool(has_fallen(self._state)[0])
        self._num_stood += not self._fallen

    def _require(self, token: int, *due: int) -> None:
        if token not in due:
            names = " or ".join(self._language.alphabet[each] for each in due)
            found = self._language.spell([token])
            raise IllegalStepError(f"{names} expected, not {found} (the state is {self})")
