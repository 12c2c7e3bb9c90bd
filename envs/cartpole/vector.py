"""The rules of token CartPole, for many environments at once: start, step, end, window, restart.

This is the only place where the rules are written. `single`, `parallel`, `multi` and `episodes`
give them other shapes: gymnasium, PettingZoo, RLlib and data sets. Whole arrays, no Ray, no torch.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parley.envs.cartpole.physics import draw_start, has_fallen, step_states
from parley.envs.cartpole.tokens import (
    ACT_LEFT,
    RESET,
    STATE_DIMS,
    STEP_TOKENS,
    CartPoleTokenizer,
    FloatArray,
    IntArray,
)
from parley.envs.interface import State

DITHER_BLOCK_STEPS = 64
"""Dither is drawn for so many steps of an episode at once: a call costs more than its numbers."""


class VectorStep(NamedTuple):
    """What one step of E environments with N carts each brought.

    `terminated` and `truncated` are events: true only in the step in which that cart ends. Treat
    the arrays as read-only: where nothing restarted, `tokens` and `final_tokens` are one array.
    """

    tokens: IntArray
    """int64[E, N, 5 * window]: what to act on next, after any restart."""
    final_tokens: IntArray
    """int64[E, N, 5 * window]: what followed from the actions, before any restart."""
    rewards: NDArray[np.float32]
    """float32[E, N]: 1 for a step that the cart took part in, the one that ended it included."""
    terminated: NDArray[np.bool_]
    """bool[E, N]: the cart left the track or its pole fell."""
    truncated: NDArray[np.bool_]
    """bool[E, N]: the cart stood until `max_steps` (never together with `terminated`)."""
    acted: NDArray[np.bool_]
    """bool[E, N]: the cart took part in the step; false for a cart that had ended before."""


class VectorCartPole:
    """E independent environments with N carts each, seen as windows of tokens.

    All carts of an environment start together and end one by one. An ended cart keeps its last
    observation, earns nothing and its actions are ignored; when all carts of an environment have
    ended, the environment restarts.

    An observation is the last `window` steps of the cart's own episode (`STEP_TOKENS` tokens each,
    the most recent last), left-padded with RESET: what stands before the last RESET is padding.

    Environment e uses only the random stream of `seeds[e]`: its episodes depend neither on the
    other environments nor on how environments are spread over workers.

    Args:
        num_envs: environments E.
        num_carts: carts N per environment.
        num_bins: bins per state dimension of the tokenizer.
        window: steps of history in an observation.
        dither: amplitude of the dither before quantising, 0 to 1: uniform in
            [-dither / 2, dither / 2] bin widths.
        max_steps: an episode is truncated after so many steps.
        seeds: one seed for each environment.
        auto_reset: without it an ended environment waits for `reset()`.

    Raises:
        ValueError: an argument is outside its range, or `len(seeds) != num_envs`.
    """

    def __init__(
        self,
        num_envs: int,
        num_carts: int = 1,
        num_bins: int = 10,
        window: int = 1,
        dither: float = 0.0,
        max_steps: int = 500,
        *,
        seeds: Sequence[int | np.random.SeedSequence],
        auto_reset: bool = True,
    ) -> None:
        counts = {
            "num_envs": num_envs,
            "num_carts": num_carts,
            "window": window,
            "max_steps": max_steps,
        }
        for name, count in counts.items():
            if operator.index(count) < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if not 0 <= dither <= 1:
            raise ValueError(f"dither must be between 0 and 1 bin widths, got {dither!r}")
        if len(seeds) != num_envs:
            raise ValueError(
                f"seeds must hold one seed for each of {num_envs} environments, got {len(seeds)}"
            )
        self.num_envs = num_envs
        self.num_carts = num_carts
        self.window = window
        self.dither = float(dither)
        self.max_steps = max_steps
        self.auto_reset = auto_reset
        self.tokenizer = CartPoleTokenizer(num_bins)
        self.generators = [np.random.default_rng(seed) for seed in seeds]

        self._states: FloatArray = np.zeros((num_envs, num_carts, STATE_DIMS))
        self._tokens: IntArray = np.full(
            (num_envs, num_carts, STEP_TOKENS * window), RESET, dtype=np.int64
        )
        self._running: NDArray[np.bool_] = np.zeros((num_envs, num_carts), dtype=np.bool_)
        self._ages: IntArray = np.zeros(num_envs, dtype=np.int64)
        self._all_running = False
        block_steps = DITHER_BLOCK_STEPS if self.dither else 0
        self._dither_blocks: FloatArray = np.zeros((num_envs, block_steps, num_carts, STATE_DIMS))

    @property
    def states(self) -> FloatArray:
        """The true states float64[E, N, 4] behind the next observation (a copy)."""
        return np.array(self._states, order="C")

    @property
    def running(self) -> NDArray[np.bool_]:
        """Which carts bool[E, N] take part in the next step (a copy)."""
        return self._running.copy()

    def reset(self) -> IntArray:
        """Start a new episode everywhere and give the first observation int64[E, N, 5 * window]."""
        self._tokens = self._tokens.copy()
        self._restart(np.arange(self.num_envs))
        self._all_running = True
        return self._tokens

    def step(self, actions: NDArray[np.integer]) -> VectorStep:
        """Move every running cart on by one step.

        Args:
            actions: int[E, N]: 0 pushes left, 1 right. Those of ended carts are ignored, but must
                be 0 or 1 too.

        Raises:
            ValueError: the shape is not [E, N] or an action is neither 0 nor 1.
            RuntimeError: no cart is running: before the first `reset()`, or when every environment
                has ended without `auto_reset`.
        """
        acted = self._running
        states, tokens = self._advance(self._checked_actions(actions))
        terminated = has_fallen(states)
        truncated = (self._ages >= self.max_steps)[:, None] & ~terminated
        if not self._all_running:
            terminated &= acted
            truncated &= acted
        self._states, self._tokens = states, tokens
        ended = terminated | truncated
        self._running = acted & ~ended
        if ended.any():
            self._finish()
        return VectorStep(
            self._tokens, tokens, acted.astype(np.float32), terminated, truncated, acted
        )

    def get_state(self) -> State:
        """Give all that later steps depend on: numpy arrays, plain values, bit-generator states."""
        return {
            "settings": self._settings(),
            "states": self.states,
            "tokens": self._tokens.copy(),
            "running": self._running.copy(),
            "ages": self._ages.copy(),
            "dither_blocks": self._dither_blocks.copy(),
            "generators": [generator.bit_generator.state for generator in self.generators],
        }

    def set_state(self, state: State) -> None:
        """Go on exactly where `get_state` was called.

        Raises:
            ValueError: the state comes from environments with other settings.
        """
        if state["settings"] != self._settings():
            raise ValueError(
                f"the state was saved with {state['settings']}, here are {self._settings()}"
            )
        self._states = state["states"].copy()
        self._tokens = state["tokens"].copy()
        self._running = state["running"].copy()
        self._ages = state["ages"].copy()
        self._dither_blocks = state["dither_blocks"].copy()
        self._all_running = bool(self._running.all())
        for generator, bit_state in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = bit_state

    def _settings(self) -> dict[str, int | float | bool]:
        return {
            "num_envs": self.num_envs,
            "num_carts": self.num_carts,
            "num_bins": self.tokenizer.num_bins,
            "window": self.window,
            "dither": self.dither,
            "max_steps": self.max_steps,
            "auto_reset": self.auto_reset,
        }

    def _checked_actions(self, actions: NDArray[np.integer]) -> NDArray[np.integer]:
        if not self._all_running and not self._running.any():
            raise RuntimeError("no episode is running: call reset() before step()")
        actions = np.asarray(actions)
        if actions.shape != self._running.shape or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions must be integers of shape {self._running.shape}, "
                f"got {actions.dtype} of shape {actions.shape}"
            )
        if (actions >> 1).any():
            raise ValueError(
                f"actions must be 0 (left) or 1 (right), got {actions.min()} to {actions.max()}"
            )
        return actions

    def _advance(self, actions: NDArray[np.integer]) -> tuple[FloatArray, IntArray]:
        """Give the states and windows after `actions`; those of ended carts stay as they are."""
        states = step_states(self._states, actions)
        if self._all_running:
            self._ages += 1
        else:
            self._ages += self._running.any(axis=1)
            np.copyto(states, self._states, where=~self._running[..., None])
        tokens = np.empty_like(self._tokens)
        tokens[..., :-STEP_TOKENS] = self._tokens[..., STEP_TOKENS:]
        np.add(actions, ACT_LEFT, out=tokens[..., -STEP_TOKENS], casting="unsafe")
        tokens[..., -STATE_DIMS:] = self.tokenizer.encode_state(states, self._next_dither())
        if not self._all_running:
            np.copyto(tokens, self._tokens, where=~self._running[..., None])
        return states, tokens

    def _next_dither(self) -> FloatArray | None:
        """Give the dither float64[E, N, 4] of the states now reached, in bin widths."""
        if not self.dither:
            return None
        slots = self._ages % DITHER_BLOCK_STEPS
        exhausted = slots == 0
        if exhausted.any():
            for env in np.flatnonzero(exhausted & self._running.any(axis=1)):
                self._dither_blocks[env] = self._draw_dither_block(self.generators[env])
        dither: FloatArray = self._dither_blocks[np.arange(self.num_envs), slots]
        return dither

    def _draw_dither_block(self, generator: np.random.Generator) -> FloatArray:
        return generator.uniform(
            -self.dither / 2, self.dither / 2, size=self._dither_blocks.shape[1:]
        )

    def _finish(self) -> None:
        """After some cart has ended: restart the environments in which none is left running."""
        finished = np.flatnonzero(~self._running.any(axis=1))
        if self.auto_reset and finished.size:
            self._tokens = self._tokens.copy()
            self._restart(finished)
        self._all_running = bool(self._running.all())

    def _restart(self, envs: IntArray) -> None:
        """Start new episodes in `envs`, in place: states, windows, ages, dither."""
        starts = np.empty((len(envs), self.num_carts, STATE_DIMS))
        for row, env in enumerate(envs):
            starts[row] = draw_start(self.generators[env], self.num_carts)
            if self.dither:
                self._dither_blocks[env] = self._draw_dither_block(self.generators[env])
        self._states[envs] = starts
        self._ages[envs] = 0
        self._running[envs] = True
        self._tokens[envs] = RESET
        dither = self._dither_blocks[envs, 0] if self.dither else None
        self._tokens[envs, :, -STATE_DIMS:] = self.tokenizer.encode_state(starts, dither)
