"""The token language of CartPole: four control tokens, then one for each bin of each dimension.

A time step is `STEP_TOKENS` tokens: the token that led to the state (RESET for the first state of
an episode, otherwise the action) and one token for each of the four state dimensions. An episode is

    RESET s0(4) a0 s1(4) a1 ... s_T(4) DONE

This module knows nothing about physics, rewards or windows; it only needs numpy.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float64]

RESET, DONE, ACT_LEFT, ACT_RIGHT = 0, 1, 2, 3
NUM_CONTROL_TOKENS = 4
STATE_DIMS = 4
STEP_TOKENS = 1 + STATE_DIMS

STATE_LIMITS: tuple[float, ...] = (2.4, 3.0, 0.21, 3.5)
"""Half range of position (m), velocity (m/s), pole angle (rad), angular velocity (rad/s)."""


@dataclass(frozen=True)
class CartPoleTokenizer:
    """Quantises states to `num_bins` equal bins per dimension, and names them as tokens.

    Dimension d, bin k is token `4 + d * num_bins + k`. States outside `STATE_LIMITS` are clipped.
    Inside, a decoded state is at most half a bin away from the encoded one.

    Dither is given in bin widths. It is added before quantising and subtracted after decoding
    (subtractive dither; Schuchman, "Dither signals and their effect on quantization noise", 1964):
    with dither uniform in [-1/2, 1/2] the error no longer depends on the state, so that a filter
    over time averages it out.

    Raises:
        ValueError: `num_bins` is less than 2.
    """

    num_bins: int = 10
    _lows: FloatArray = field(init=False, repr=False, compare=False)
    _bin_widths: FloatArray = field(init=False, repr=False, compare=False)
    _offsets: IntArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check `num_bins` and tabulate low edge, bin width and first token of each dimension."""
        if operator.index(self.num_bins) < 2:
            raise ValueError(f"num_bins must be at least 2, got {self.num_bins}")
        limits = np.array(STATE_LIMITS)
        offsets = NUM_CONTROL_TOKENS + np.arange(STATE_DIMS, dtype=np.int64) * self.num_bins
        object.__setattr__(self, "_lows", -limits)
        object.__setattr__(self, "_bin_widths", 2 * limits / self.num_bins)
        object.__setattr__(self, "_offsets", offsets)

    @property
    def vocab_size(self) -> int:
        """Number of different tokens: four control tokens and `num_bins` for each dimension."""
        return NUM_CONTROL_TOKENS + STATE_DIMS * self.num_bins

    @property
    def bin_widths(self) -> FloatArray:
        """Width of one bin in each dimension, in the dimension's unit: float64[4]."""
        return self._bin_widths.copy()

    def encode_state(self, states: ArrayLike, dither: ArrayLike | None = None) -> IntArray:
        """Quantise float[..., 4] states to int64[..., 4] tokens.

        Args:
            states: position, velocity, angle, angular velocity on the last axis.
            dither: added before quantising, in bin widths; same shape as `states`.

        Raises:
            ValueError: the last axis is not 4, or a state or its dither is not a number.
        """
        values = np.asarray(states, dtype=np.float64)
        _require_state_axis(values, "states")
        bins = (values - self._lows) / self._bin_widths
        if dither is not None:
            bins += np.asarray(dither, dtype=np.float64)
        if np.isnan(bins).any():
            raise ValueError("states and dither must be numbers, got NaN")
        np.maximum(bins, 0, out=bins)
        np.minimum(bins, self.num_bins - 1, out=bins)
        tokens = bins.astype(np.int64)
        tokens += self._offsets
        return tokens

    def decode_state(self, tokens: ArrayLike, dither: ArrayLike | None = None) -> FloatArray:
        """Give the bin centres of int64[..., 4] state tokens as float64[..., 4], minus the dither.

        Raises:
            ValueError: the last axis is not 4, or a token does not belong to its dimension.
        """
        values = np.asarray(tokens)
        _require_state_axis(values, "tokens")
        bins = values - self._offsets
        foreign = (bins < 0) | (bins >= self.num_bins)
        if foreign.any():
            where = tuple(int(i) for i in np.argwhere(foreign)[0])
            first = int(self._offsets[where[-1]])
            raise ValueError(
                f"token {values[where]} at {where} is no state token of dimension {where[-1]}: "
                f"expected {first} to {first + self.num_bins - 1}"
            )
        centres = bins + 0.5
        if dither is not None:
            centres = centres - np.asarray(dither, dtype=np.float64)
        return centres * self._bin_widths + self._lows

    @overload
    def encode_action(self, action: int) -> int: ...
    @overload
    def encode_action(self, action: IntArray) -> IntArray: ...
    def encode_action(self, action: int | IntArray) -> int | IntArray:
        """Give the token of action 0 (left) or 1 (right); an array gives an array of its shape.

        Raises:
            ValueError: an action is neither 0 nor 1.
        """
        actions = np.asarray(action)
        refused = (actions != 0) & (actions != 1)
        if refused.any():
            first = actions[refused].flat[0]
            raise ValueError(f"action must be 0 (left) or 1 (right), got {first}")
        tokens = actions.astype(np.int64) + ACT_LEFT
        return int(tokens) if tokens.ndim == 0 else tokens

    def decode_action(self, token: int) -> int:
        """Give the action of ACT_LEFT or ACT_RIGHT.

        Raises:
            ValueError: any other token.
        """
        if token == ACT_LEFT:
            return 0
        if token == ACT_RIGHT:
            return 1
        raise ValueError(
            f"token {token!r} is no action: expected {ACT_LEFT} (left) or {ACT_RIGHT} (right)"
        )


def _require_state_axis(values: NDArray[np.generic], name: str) -> None:
    if values.ndim == 0 or values.shape[-1] != STATE_DIMS:
        raise ValueError(
            f"{name} must have {STATE_DIMS} entries on the last axis, got shape {values.shape}"
        )
