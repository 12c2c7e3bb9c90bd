from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.envs.cartpole.sequences import crops, pad_batch
from parley.envs.cartpole.tokens import ACT_LEFT, DONE, RESET, STEP_TOKENS
from parley.envs.labels import IGNORED_LABEL


def make_sequence(num_steps: int) -> np.ndarray:
    """An episode whose state tokens are all 9."""
    steps = np.full((num_steps + 1, STEP_TOKENS), 9, dtype=np.int16)
    steps[:, 0] = ACT_LEFT
    steps[0, 0] = RESET
    return np.append(steps, np.int16(DONE))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(6, 70))
def test_crops_of_an_episode_are_the_episode(lengths: list[int], max_len: int) -> None:
    sequences = [make_sequence(length) for length in lengths]
    windows = crops(sequences, max_len)
    np.testing.assert_array_equal(np.concatenate(windows), np.concatenate(sequences))
    for window in windows:
        assert STEP_TOKENS <= len(window) <= max_len
        assert window[0] in (RESET, ACT_LEFT)
        assert len(window) % STEP_TOKENS == (window[-1] == DONE)


def test_short_episodes_stay_whole() -> None:
    sequences = [make_sequence(2), make_sequence(3)]
    assert [len(window) for window in crops(sequences, 21)] == [16, 21]
    assert [len(window) for window in crops(sequences, 20)] == [16, 15, 6]


def test_padding_is_ignored() -> None:
    sequences = [make_sequence(1), make_sequence(3)]
    batch = pad_batch(sequences, max_len=64)
    assert batch.tokens.shape == batch.labels.shape == batch.attention_mask.shape == (2, 21)
    assert batch.tokens.dtype == np.int64
    for row, sequence in enumerate(sequences):
        size = len(sequence)
        np.testing.assert_array_equal(batch.tokens[row, :size], sequence)
        np.testing.assert_array_equal(batch.labels[row, :size], sequence)
        assert (batch.attention_mask[row] == (np.arange(21) < size)).all()
        assert (batch.labels[row, size:] == IGNORED_LABEL).all()
        assert (batch.tokens[row, size:] != RESET).all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="sequence 1 has 21 tokens, more than max_len 20"):
        pad_batch([make_sequence(1), make_sequence(3)], max_len=20)
    with pytest.raises(ValueError, match="at least one"):
        pad_batch([], max_len=20)
    with pytest.raises(ValueError, match="max_len must be at least 6, got 5"):
        crops([make_sequence(1)], max_len=5)
