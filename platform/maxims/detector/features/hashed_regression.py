"""A logistic regression on hashed runs of words, for `missing_ends` and `replaced_words`.

A row of its table is the sum of a few weights, one for each run; a run's weight stands where its
hash says, so that no vocabulary is kept (the hashing trick, Weinberger et al. 2009).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.features.parsed_response import (
    MULTIPLIER,
    Hashes,
    hash_words,
    slots_of,
)

Floats = NDArray[np.float32]

_SHIFT = np.uint64(31)


def make_salts(name: str, num: int) -> list[np.uint64]:
    """A number for each kind of run, so that equal words in two kinds do not share a weight."""
    return [np.uint64(salt) for salt in hash_words(f"{name} {number}" for number in range(num))]


def hash_runs(
    salts: Sequence[np.uint64], runs: Sequence[Sequence[Hashes]], num_bits: int
) -> NDArray[np.int64]:
    """Where the weights of runs stand, below 2 ** `num_bits`: [N, R].

    Args:
        salts: R.
        runs: R kinds of runs; each of its parts holds one word's hash at every place, [N].
        num_bits: of the table's size.
    """
    columns = []
    for salt, run in zip(salts, runs, strict=True):
        mixed = np.broadcast_to(salt, run[0].shape)
        for part in run:
            mixed = (mixed ^ part) * MULTIPLIER
            mixed = mixed ^ (mixed >> _SHIFT)
        columns.append(slots_of(mixed, num_bits))
    return np.stack(columns, axis=1)


def fit_regression(
    slots: NDArray[np.int64], labels: NDArray[np.bool_], num_bits: int, seed: int
) -> tuple[Floats, Floats]:
    """Weights [2 ** num_bits] and bias [1] that tell `labels` [N] from `slots` [N, R]."""
    from scipy import sparse
    from sklearn.linear_model import SGDClassifier

    starts = np.arange(0, slots.size + 1, slots.shape[1])
    matrix = sparse.csr_matrix(
        (np.ones(slots.size, np.float32), slots.reshape(-1), starts), (len(slots), 2**num_bits)
    )
    model = SGDClassifier(
        loss="log_loss", alpha=3e-6, max_iter=4, tol=None, average=True, random_state=seed
    )
    model.fit(matrix, labels)
    return model.coef_[0].astype(np.float32), model.intercept_.astype(np.float32)
