"""From token sequences of episodes to training batches: cutting and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parley.envs.cartpole.tokens import DONE, STEP_TOKENS, IntArray
from parley.envs.labels import IGNORED_LABEL


class TokenBatch(NamedTuple):
    """Right-padded sequences: B rows, T the longest of them."""

    tokens: IntArray
    """int64[B, T]; padding is DONE, because RESET would tell a model that an episode starts."""
    labels: IntArray
    """int64[B, T]: the tokens, IGNORED_LABEL on padding (unshifted: the model's loss shifts)."""
    attention_mask: IntArray
    """int64[B, T]: 1 on tokens, 0 on padding."""


def pad_batch(sequences: Sequence[NDArray[np.integer]], max_len: int) -> TokenBatch:
    """Stack sequences into one batch in which padding takes no part in the loss.

    Raises:
        ValueError: no sequence, an empty one, or one longer than `max_len` (cut it with `crops`).
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    if not lengths.size or lengths.min() == 0:
        raise ValueError("pad_batch needs at least one sequence, and none that is empty")
    if lengths.max() > max_len:
        raise ValueError(
            f"sequence {lengths.argmax()} has {lengths.max()} tokens, more than max_len {max_len}: "
            "cut it with crops()"
        )
    mask = np.arange(lengths.max()) < lengths[:, None]  # [B, T]
    tokens = np.full(mask.shape, DONE, dtype=np.int64)
    tokens[mask] = np.concatenate(sequences)
    return TokenBatch(tokens, np.where(mask, tokens, IGNORED_LABEL), mask.astype(np.int64))


def crops(sequences: Sequence[NDArray[np.integer]], max_len: int) -> list[NDArray[np.integer]]:
    """Cut episodes into windows of at most `max_len` tokens, each starting at a step boundary.

    The windows of an episode, put together, are the episode. DONE stays with the last step; where
    it does not fit, that step moves to a window of its own.

    Raises:
        ValueError: `max_len` cannot hold one step and DONE.
    """
    if max_len < STEP_TOKENS + 1:
        raise ValueError(f"max_len must be at least {STEP_TOKENS + 1}, got {max_len}")
    stride = max_len // STEP_TOKENS * STEP_TOKENS
    windows: list[NDArray[np.integer]] = []
    for sequence in sequences:
        starts = list(range(0, len(sequence) - 1, stride))
        if len(sequence) - starts[-1] > max_len:
            starts.append(len(sequence) - 1 - STEP_TOKENS)
        stops = [*starts[1:], len(sequence)]
        windows += [sequence[start:stop] for start, stop in zip(starts, stops, strict=True)]
    return windows
