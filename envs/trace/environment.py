"""Token languages as gymnasium environments: an episode is one trace, an action its next token."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import ArrayLike

from parley.envs.interface import Info, Metadata, Options
from parley.envs.trace.addition import Addition, Order
from parley.envs.trace.language import START, IntArray, Language
from parley.envs.trace.markov import Markov
from parley.envs.trace.reward import Referee
from parley.envs.trace.sorting import Sorting
from parley.envs.trace.split import Part, draw_split


class TraceEnv(gymnasium.Env[IntArray, int]):
    """Write the trace of an input, one token a step; every token is executed.

    Observation space:
        `Box(0, V - 1, (max_tokens,), int64)`: the trace so far, prompt first, the newest token
        last, left-padded with START (0): whatever stands before the last START is padding. V is
        the size of the alphabet, `max_tokens` the longest trace of `max_size`.
    Action space:
        `Discrete(V)`: the next token.
    Reward:
        that of `parley.envs.trace.reward`: a small share for a legal token, 1 for a right answer,
        -1 for a wrong one, for an illegal token and for a trace that does not end. In a source: the
        logarithm of the true probability of the token, relative to a uniform guess.
    Start:
        the prompt of a random input; its size is uniform from `min_size` to `max_size`.
        `reset(options={"size": n, "input": [...]})` chooses one or both.
    End:
        terminated with the trace's end, with an illegal token, which is not written, and after as
        many tokens as the longest trace of this size has. Never truncated.
    Info:
        "size" and "input" of the episode; from `step` also "exact" (ended with the right answer)
        and "reason" (why the trace was lost, or "").

    Args:
        language: the rules.
        min_size: smallest input.
        max_size: largest input.
        part: of the inputs: "training" or "heldout".
        holdout: share of all inputs that is held out; 0 draws from all.
        render_mode: None or "ansi": the trace's tokens as text.

    Raises:
        ValueError: an argument is outside its range.
        RuntimeError: `step` when no episode is running.
    """

    metadata: ClassVar[Metadata] = {"render_modes": ["ansi"], "render_fps": 4}  # type: ignore[misc]

    def __init__(
        self,
        language: Language,
        min_size: int,
        max_size: int,
        part: Part = "training",
        holdout: float = 0.1,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode must be None or 'ansi', got {render_mode!r}")
        if min_size > max_size:
            raise ValueError(f"min_size {min_size} is larger than max_size {max_size}")
        language.num_tokens(min_size)  # refuses sizes that are too small
        self.language = language
        self.render_mode = render_mode
        self.max_tokens = language.num_tokens(max_size)
        self._sizes = (min_size, max_size)
        self._part, self._holdout = part, holdout
        for size in {min_size, max_size}:
            draw_split(language, size, 1, np.random.default_rng(0), part, holdout)
        self.observation_space = gymnasium.spaces.Box(
            0, language.vocab_size - 1, (self.max_tokens,), np.int64
        )
        self.action_space = gymnasium.spaces.Discrete(language.vocab_size)
        self._referee: Referee | None = None
        self._tokens: list[int] = []
        self._episode: dict[str, Any] = {}

    def reset(
        self, *, seed: int | None = None, options: Options | None = None
    ) -> tuple[IntArray, Info]:
        """Start the trace of a new input, or of that in `options`."""
        super().reset(seed=seed)
        size, chosen = self._choose_input(options or {})
        true = self.language.write_traces(size, chosen[None])
        self._referee = Referee(self.language, size, chosen, true)
        self._tokens = true.tokens[0, : true.prompt_length].tolist()
        self._episode = {"size": size, "input": chosen}
        return self._observe(), dict(self._episode)

    def step(self, action: int) -> tuple[IntArray, float, bool, bool, Info]:
        """Write one token and execute it."""
        if self._referee is None:
            raise RuntimeError("no episode is running: call reset() before step()")
        referee, token = self._referee, int(action)
        if token not in range(self.language.vocab_size):
            raise ValueError(f"action must be 0 to {self.language.vocab_size - 1}, got {action}")
        step = referee.read(token)
        if not referee.illegal:
            self._tokens.append(token)
        if step.over:
            self._referee = None
        info = {**self._episode, "exact": referee.exact, "reason": step.reason}
        return self._observe(), step.reward, step.over, False, info

    def render(self) -> str | None:  # type: ignore[override]
        """The trace so far by the names of its tokens, for "ansi"."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode: pass 'ansi'")
            return None
        return self.language.spell(self._tokens)

    def _observe(self) -> IntArray:
        observation = np.full(self.max_tokens, START, dtype=np.int64)
        observation[self.max_tokens - len(self._tokens) :] = self._tokens
        return observation

    def _choose_input(self, options: Options) -> tuple[int, IntArray]:
        """Size and input int64 [K] of the next episode."""
        unknown = set(options) - {"size", "input"}
        if unknown:
            raise ValueError(f"options may hold 'size' and 'input', not {sorted(unknown)}")
        smallest, largest = self._sizes
        size = options.get("size")
        if size is None:
            size = int(self.np_random.integers(smallest, largest + 1))
        if not smallest <= size <= largest:
            raise ValueError(f"size must be {smallest} to {largest}, got {size}")
        if "input" in options:
            return size, self._checked_input(size, options["input"])
        drawn = draw_split(self.language, size, 1, self.np_random, self._part, self._holdout)
        return size, drawn[0]

    def _checked_input(self, size: int, given: ArrayLike) -> IntArray:
        """The input as int64 [K], if the language can write it."""
        chosen = np.asarray(given)
        shape = self.language.draw_inputs(size, 0, self.np_random).shape[1:]
        if chosen.shape != shape or chosen.dtype.kind not in "iu":
            raise ValueError(
                f"an input of size {size} is integers of shape {shape}, "
                f"got {chosen.dtype} of shape {chosen.shape}"
            )
        chosen = chosen.astype(np.int64)
        tokens = self.language.write_traces(size, chosen[None]).tokens
        if chosen.min() < 0 or tokens.max() >= self.language.vocab_size:
            raise ValueError(f"input {chosen.tolist()} does not fit the alphabet")
        return chosen


class AdditionEnv(TraceEnv):
    """Add two numbers by writing down digits and carries.

    An input holds the digits of the first number, units first, then those of the second. Language:
    `parley.envs.trace.addition`; spaces, rewards and the other arguments: `TraceEnv`.

    Args:
        base: of the digits.
        order: "reversed" or "msd".
        min_size: fewest digits.
        max_size: most digits.
        part: as in `TraceEnv`.
        holdout: as in `TraceEnv`.
        render_mode: as in `TraceEnv`.
    """

    def __init__(
        self,
        base: int = 10,
        order: Order = "reversed",
        min_size: int = 3,
        max_size: int = 3,
        part: Part = "training",
        holdout: float = 0.1,
        render_mode: str | None = None,
    ) -> None:
        language = Addition(base, order)
        super().__init__(language, min_size, max_size, part, holdout, render_mode)


class SortingEnv(TraceEnv):
    """Sort an array by bubble sort, one comparison after the other.

    An input holds the values. Language: `parley.envs.trace.sorting`; spaces, rewards and the other
    arguments: `TraceEnv`.

    Args:
        num_values: values are 0 to num_values - 1.
        marks: write the cursor and the wall into the array.
        min_size: fewest elements.
        max_size: most elements.
        part: as in `TraceEnv`.
        holdout: as in `TraceEnv`.
        render_mode: as in `TraceEnv`.
    """

    def __init__(
        self,
        num_values: int = 16,
        marks: bool = True,
        min_size: int = 5,
        max_size: int = 5,
        part: Part = "training",
        holdout: float = 0.1,
        render_mode: str | None = None,
    ) -> None:
        language = Sorting(num_values, marks)
        super().__init__(language, min_size, max_size, part, holdout, render_mode)


class MarkovEnv(TraceEnv):
    """Walk through a Markov chain; the likelier a step, the more it earns.

    An input is a walk; the prompt is START alone, so that episodes of one size begin alike. What
    pays is a likely walk, not one that is drawn as the chain would draw it. Language:
    `parley.envs.trace.markov`; spaces, rewards and the other arguments: `TraceEnv`.

    Args:
        num_states: states of the chain.
        chain_seed: seed of its transition matrix.
        min_size: fewest states of a walk.
        max_size: most states of a walk.
        part: as in `TraceEnv`.
        holdout: as in `TraceEnv`.
        render_mode: as in `TraceEnv`.
    """

    def __init__(
        self,
        num_states: int = 8,
        chain_seed: int = 0,
        min_size: int = 32,
        max_size: int = 32,
        part: Part = "training",
        holdout: float = 0.1,
        render_mode: str | None = None,
    ) -> None:
        language = Markov(num_states, chain_seed)
        super().__init__(language, min_size, max_size, part, holdout, render_mode)
