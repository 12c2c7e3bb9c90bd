"""Stock phrases: a linear model of which runs of one to three words go with which violation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.judges.passages import Passage, hash_ngrams, slots_of

PHRASE_BITS = 18
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Phrases:
    """Weights of hashed runs of words, one row for each maxim."""

    weights: Floats
    """[M, 2 ** PHRASE_BITS]"""
    bias: Floats
    """[M]"""

    @classmethod
    def fit(
        cls, passages: Sequence[Passage], labels: NDArray[Any], weights: NDArray[Any], seed: int
    ) -> Phrases:
        from scipy import sparse
        from sklearn.linear_model import LogisticRegression

        rows = [phrase_slots(passage) for passage in passages]
        ends = np.cumsum([0, *map(len, rows)])
        values = np.concatenate(
            [np.full(len(r), 1 / max(len(r), 1) ** 0.5, np.float32) for r in rows]
        )
        matrix = sparse.csr_matrix(
            (values, np.concatenate(rows), ends), (len(rows), 2**PHRASE_BITS)
        )
        coefficients, bias = [], []
        for maxim in range(labels.shape[1]):
            model = LogisticRegression(C=30.0, solver="liblinear", random_state=seed)
            model.fit(matrix, labels[:, maxim], sample_weight=weights)
            coefficients.append(model.coef_[0])
            bias.append(model.intercept_[0])
        return cls(np.array(coefficients, np.float32), np.array(bias, np.float32))

    def measure(self, passage: Passage) -> Floats:
        slots = phrase_slots(passage)
        return self.weights[:, slots].sum(axis=1) / max(len(slots), 1) ** 0.5 + self.bias


def phrase_slots(passage: Passage) -> NDArray[np.int64]:
    """Table rows of the runs of one to three tokens, each once."""
    runs = [hash_ngrams(passage.tokens, order) for order in (1, 2, 3)]
    return np.unique(slots_of(np.concatenate(runs), PHRASE_BITS))
