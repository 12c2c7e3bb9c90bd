"""Stock phrases: which runs of one to three words go with which violation.

Two readings of the same runs: a logistic regression that sums over all of them, and the log-odds of
the single run that is most suspicious, which a long response cannot dilute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.features.parsed_response import (
    Passage,
    hash_ngrams,
    hash_tokens,
    slots_of,
)

PHRASE_BITS = 18
STRENGTH = 30.0
"""Inverse of the regression's penalty."""
PRIOR_ROWS = 3.0
"""Rows without a violation that every run is taken to have been seen in besides."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Phrases:
    """Weights of hashed runs of words, one row for each maxim."""

    weights: Floats
    """Of the regression, [M, 2 ** PHRASE_BITS]."""
    bias: Floats
    """[M]"""
    odds: Floats
    """Of a run for each head, as log-odds, smoothed towards 0, [H, 2 ** PHRASE_BITS]."""

    @classmethod
    def fit(
        cls,
        passages: Sequence[Passage],
        labels: NDArray[Any],
        weights: NDArray[Any],
        targets: NDArray[np.int8],
        clean_texts: Sequence[str],
        seed: int,
    ) -> Phrases:
        """Learn from passages and clean turns.

        Args:
            passages: [N].
            labels: [N, M].
            weights: [N].
            targets: [N, H], 1 where the run's log-odds for a head shall count the row as a yes.
            clean_texts: more texts without a violation.
            seed: of the regression.
        """
        from scipy import sparse
        from sklearn.linear_model import LogisticRegression

        rows = [phrase_slots(passage.response) for passage in passages]
        ends = np.cumsum([0, *map(len, rows)])
        scales = np.concatenate([np.full(len(row), _scale(row), np.float32) for row in rows])
        matrix = sparse.csr_matrix(
            (scales, np.concatenate(rows), ends), (len(rows), 2**PHRASE_BITS)
        )
        coefficients, bias = [], []
        for column in range(labels.shape[1]):
            model = LogisticRegression(C=STRENGTH, solver="liblinear", random_state=seed)
            model.fit(matrix, labels[:, column], sample_weight=weights)
            coefficients.append(model.coef_[0])
            bias.append(model.intercept_[0])
        odds = _log_odds(rows, targets, clean_texts)
        return cls(np.array(coefficients, np.float32), np.array(bias, np.float32), odds)

    def measure(self, passage: Passage) -> Floats:
        """The regression's log-odds of each maxim, and each head's largest of a run, [M + H]."""
        slots = phrase_slots(passage.response)
        total = self.weights[:, slots].sum(axis=1) * _scale(slots) + self.bias
        largest = self.odds[:, slots].max(axis=1, initial=0.0)
        return np.concatenate([total, largest]).astype(np.float32)


@lru_cache(maxsize=1 << 16)
def phrase_slots(text: str) -> NDArray[np.int64]:
    """Table rows of the runs of one to three tokens, each once; kept, as all models ask."""
    tokens = hash_tokens(text)
    runs = [hash_ngrams(tokens, order) for order in (1, 2, 3)]
    return np.unique(slots_of(np.concatenate(runs), PHRASE_BITS))


def _scale(slots: NDArray[np.int64]) -> float:
    return 1.0 / max(len(slots), 1) ** 0.5


def _log_odds(
    rows: Sequence[NDArray[np.int64]], targets: NDArray[np.int8], clean_texts: Sequence[str]
) -> Floats:
    """How much more often a run stands in rows that say yes than elsewhere, [H, 2 ** BITS]."""
    clean = np.zeros(2**PHRASE_BITS, np.float64)
    for text in clean_texts:
        clean[phrase_slots(text)] += 1.0
    odds = []
    for column in range(targets.shape[1]):
        counts = np.zeros((2, 2**PHRASE_BITS), np.float64)
        for slots, target in zip(rows, targets[:, column], strict=True):
            if target >= 0:
                counts[target][slots] += 1.0
        num_with = max(float((targets[:, column] == 1).sum()), 1.0)
        num_without = float((targets[:, column] == 0).sum() + len(clean_texts))
        rate = (counts[0] + clean + counts[1] + 0.5) / (num_with + num_without)
        inside = (counts[1] + PRIOR_ROWS * rate) / (num_with + PRIOR_ROWS)
        steadiness = counts[1] / (counts[1] + PRIOR_ROWS)
        odds.append(steadiness * np.log(inside / rate))
    return np.array(odds, np.float32)
