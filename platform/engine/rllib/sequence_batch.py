"""Batches of padded rows: what learners take that read whole sequences in one pass.

A row is a sequence of tokens and, for each of the A tokens that its policy drew, where it stands
and what is known of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch


def pad_rows(arrays: Sequence[NDArray[Any]], fill: int = 0) -> NDArray[Any]:
    """Arrays [n, ...] of different sizes as one [R, max n, ...], filled up behind."""
    shape = np.max([array.shape for array in arrays], axis=0)
    padded = np.full((len(arrays), *shape), fill, arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[tuple(slice(size) for size in array.shape)] = array
    return padded


def make_share(
    columns: Mapping[str, Mapping[str, NDArray[Any]]], share: int, num_shares: int
) -> MultiAgentBatch:
    """Every `num_shares`-th row; shares are of equal size, made up with rows that do not count.

    Args:
        columns: module -> its columns [R, ...].
        share: which of the shares, from 0.
        num_shares: of how many, one for each learner.
    """
    batches = {}
    for module_id, table in columns.items():
        num_rows = len(next(iter(table.values())))
        missing = -num_rows % num_shares
        padded = {
            key: np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
            for key, array in table.items()
        }
        batches[module_id] = SampleBatch(
            {key: array[share::num_shares] for key, array in padded.items()}
        )
    return MultiAgentBatch(batches, max(len(batch) for batch in batches.values()))
