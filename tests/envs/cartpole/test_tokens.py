from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.envs.cartpole.tokens import (
    ACT_LEFT,
    ACT_RIGHT,
    DONE,
    RESET,
    STATE_LIMITS,
    CartPoleTokenizer,
)

LIMITS = np.array(STATE_LIMITS)
bins = st.integers(2, 300)
units = st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(np.array)
"""A state in units of the limits: -1 is the low edge, 1 the high edge."""


@given(bins, units)
def test_round_trip_is_within_half_a_bin(num_bins: int, unit: np.ndarray) -> None:
    tokenizer = CartPoleTokenizer(num_bins)
    decoded = tokenizer.decode_state(tokenizer.encode_state(unit * LIMITS))
    assert (np.abs(decoded - unit * LIMITS) <= tokenizer.bin_widths * (0.5 + 1e-9)).all()


@given(bins, units, st.floats(-0.5, 0.5))
def test_dithered_round_trip_is_within_half_a_bin_away_from_the_edge(
    num_bins: int, unit: np.ndarray, dither: float
) -> None:
    tokenizer = CartPoleTokenizer(num_bins)
    states = unit * (LIMITS - tokenizer.bin_widths / 2)
    dithers = np.full(4, dither)
    decoded = tokenizer.decode_state(tokenizer.encode_state(states, dithers), dithers)
    assert (np.abs(decoded - states) <= tokenizer.bin_widths * (0.5 + 1e-9)).all()


@given(bins, st.lists(st.floats(-1e300, 1e300), min_size=4, max_size=4))
def test_every_state_token_belongs_to_its_dimension(num_bins: int, state: list[float]) -> None:
    tokens = CartPoleTokenizer(num_bins).encode_state(state)
    first = 4 + np.arange(4) * num_bins
    assert ((tokens >= first) & (tokens < first + num_bins)).all()
    assert tokens.max() < CartPoleTokenizer(num_bins).vocab_size


@given(bins, units, units)
def test_larger_states_never_get_smaller_tokens(
    num_bins: int, one: np.ndarray, other: np.ndarray
) -> None:
    tokenizer = CartPoleTokenizer(num_bins)
    low, high = np.minimum(one, other) * LIMITS * 1.5, np.maximum(one, other) * LIMITS * 1.5
    assert (tokenizer.encode_state(low) <= tokenizer.encode_state(high)).all()


@given(bins)
def test_every_state_token_is_the_code_of_its_centre(num_bins: int) -> None:
    tokenizer = CartPoleTokenizer(num_bins)
    tokens = 4 + np.arange(num_bins)[:, None] + np.arange(4) * num_bins
    np.testing.assert_array_equal(
        tokenizer.encode_state(tokenizer.decode_state(tokens)), tokens, strict=True
    )


def test_known_codes() -> None:
    tokenizer = CartPoleTokenizer(10)
    assert tokenizer.vocab_size == 44
    assert tokenizer.encode_state([-2.4, 3.0, 0.0, 99.0]).tolist() == [4, 23, 29, 43]
    np.testing.assert_allclose(tokenizer.decode_state([4, 14, 24, 34]), -0.9 * LIMITS)


def test_batches_keep_their_shape() -> None:
    states = np.random.default_rng(0).uniform(-LIMITS, LIMITS, size=(3, 5, 4))
    tokenizer = CartPoleTokenizer()
    tokens = tokenizer.encode_state(states)
    assert tokens.shape == (3, 5, 4)
    assert tokens.dtype == np.int64
    np.testing.assert_array_equal(tokens[1, 2], tokenizer.encode_state(states[1, 2]))


@pytest.mark.parametrize("subtractive", [True, False])
def test_full_dither_leaves_no_bias(subtractive: bool) -> None:
    tokenizer = CartPoleTokenizer(10)
    generator = np.random.default_rng(0)
    states = generator.uniform(-0.85, 0.85, size=(20, 4)) * LIMITS
    dither = generator.uniform(-0.5, 0.5, size=(10_000, 20, 4))
    tokens = tokenizer.encode_state(np.broadcast_to(states, dither.shape), dither)
    decoded = tokenizer.decode_state(tokens, dither if subtractive else None)
    bias_bins = (decoded.mean(axis=0) - states) / tokenizer.bin_widths
    assert np.abs(bias_bins).max() < 0.025  # five standard errors of at most half a bin
    plain = tokenizer.decode_state(tokenizer.encode_state(states))
    assert np.abs((plain - states) / tokenizer.bin_widths).max() > 0.4


def test_actions() -> None:
    tokenizer = CartPoleTokenizer()
    assert [tokenizer.encode_action(action) for action in (0, 1)] == [ACT_LEFT, ACT_RIGHT]
    assert tokenizer.encode_action(np.array([[0, 1]])).tolist() == [[2, 3]]
    assert [tokenizer.decode_action(token) for token in (ACT_LEFT, ACT_RIGHT)] == [0, 1]


@pytest.mark.parametrize("token", [RESET, DONE, 4, 43, -1, 1000])
def test_other_tokens_are_no_actions(token: int) -> None:
    with pytest.raises(ValueError, match=f"token {token} is no action"):
        CartPoleTokenizer().decode_action(token)


def test_refusals_name_the_value() -> None:
    tokenizer = CartPoleTokenizer()
    with pytest.raises(ValueError, match="at least 2, got 1"):
        CartPoleTokenizer(1)
    with pytest.raises(ValueError, match="got 2"):
        tokenizer.encode_action(2)
    with pytest.raises(ValueError, match="NaN"):
        tokenizer.encode_state([0, 0, np.nan, 0])
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        tokenizer.encode_state([0, 0, 0])
    with pytest.raises(ValueError, match=r"token 13 at .* dimension 1: expected 14 to 23"):
        tokenizer.decode_state([4, 13, 24, 34])
