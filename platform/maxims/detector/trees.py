"""Gradient-boosted trees: grown by scikit-learn, kept as plain arrays, walked by numpy.

No pickle is written or read: the nodes of all trees are columns of numbers, and prediction is the
few lines of `log_odds`, which a test holds against scikit-learn's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

MAX_BINS = 255
"""Of a column, as in scikit-learn."""


@dataclass(frozen=True)
class Trees:
    """An ensemble for one yes-or-no question; the nodes of all trees stand in one list."""

    roots: NDArray[np.int32]
    """Node of each tree's root, [E]."""
    feature: NDArray[np.int32]
    """Feature that a node asks for, [N]; a leaf's is -1."""
    threshold: NDArray[np.float64]
    """Go left up to this value, [N]."""
    missing_left: NDArray[np.bool_]
    """Whether NaN goes left, [N]."""
    left: NDArray[np.int32]
    """[N]; a leaf points to itself, as `right` does."""
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    """What a leaf adds to the log-odds, [N]."""
    baseline: NDArray[np.float64]
    """Log-odds before the first tree, [1]."""

    @classmethod
    def fit(
        cls,
        features: NDArray[np.float32],
        labels: NDArray[np.bool_],
        weights: NDArray[np.float64],
        num_trees: int,
        seed: int,
    ) -> Self:
        """Grow trees on features [N, F] (NaN: does not apply), labels [N] and weights [N].

        scikit-learn is handed the bins' numbers: where rows have weights it would look for the
        254 borders of each column one by one, sorting it anew, four fifths of the time.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        if labels.all() or not labels.any():  # nothing to tell apart
            return cls._constant(bool(labels.any()))
        model = HistGradientBoostingClassifier(
            max_iter=num_trees,
            learning_rate=LEARNING_RATE,
            max_leaf_nodes=MAX_LEAVES,
            min_samples_leaf=MIN_LEAF_ROWS,
            l2_regularization=RIDGE,
            max_features=FEATURE_SHARE,
            early_stopping=False,
            random_state=seed,
        )
        # scikit-learn cannot bin a column without a number; no tree asks for a constant one.
        filled = np.where(np.isnan(features).all(axis=0), np.float32(0.0), features)
        bins, borders = bin_columns(filled)
        with threadpool_limits(limits=1, user_api="openmp"):  # small trees: threads would wait
            model.fit(bins, labels, sample_weight=weights)
        return cls.export(model)._between(borders)

    def _between(self, borders: Sequence[NDArray[np.float64]]) -> Self:
        """The same trees for values in place of their bins' numbers, see `bin_columns`."""
        threshold = self.threshold.copy()
        for node in np.flatnonzero((self.feature >= 0) & np.isfinite(threshold)):
            threshold[node] = borders[self.feature[node]][int(threshold[node])]
        return replace(self, threshold=threshold)

    @classmethod
    def _constant(cls, answer: bool) -> Self:
        """One leaf that gives every row the same answer."""
        leaf = np.zeros(1, np.int32)
        return cls(
            roots=leaf,
            feature=leaf - 1,
            threshold=np.zeros(1),
            missing_left=np.zeros(1, np.bool_),
            left=leaf,
            right=leaf,
            value=np.zeros(1),
            baseline=np.full(1, CERTAIN if answer else -CERTAIN),
        )

    @classmethod
    def export(cls, model: Any) -> Self:
        """The arrays of a fitted `HistGradientBoostingClassifier` of two classes."""
        nodes = [trees[0].nodes for trees in model._predictors]
        sizes = np.array([len(tree) for tree in nodes])
        roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        joined = np.concatenate(nodes)
        offsets = np.repeat(roots, sizes)
        own = np.arange(len(joined))
        leaf = joined["is_leaf"].astype(bool)
        return cls(
            roots=roots.astype(np.int32),
            feature=np.where(leaf, -1, joined["feature_idx"]).astype(np.int32),
            threshold=np.where(leaf, 0.0, joined["num_threshold"]),
            missing_left=joined["missing_go_to_left"].astype(bool),
            left=np.where(leaf, own, joined["left"] + offsets).astype(np.int32),
            right=np.where(leaf, own, joined["right"] + offsets).astype(np.int32),
            value=np.where(leaf, joined["value"], 0.0),
            baseline=np.asarray(model._baseline_prediction, np.float64).reshape(1),
        )

    def log_odds(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-odds of yes, [N], of features [N, F]."""
        rows = np.arange(len(features))[:, None]
        node = np.broadcast_to(self.roots, (len(features), len(self.roots)))  # [N, E]
        while True:
            feature = self.feature[node]
            if (feature < 0).all():
                break
            asked = features[rows, np.maximum(feature, 0)]
            missing = np.isnan(asked)
            goes_left = np.where(missing, self.missing_left[node], asked <= self.threshold[node])
            node = np.where(goes_left, self.left[node], self.right[node])
        total: NDArray[np.float64] = self.baseline[0] + self.value[node].sum(axis=1)
        return total

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> array, to be written."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The inverse of `arrays`."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def bin_columns(
    features: NDArray[np.float32], max_bins: int = MAX_BINS
) -> tuple[NDArray[np.float32], list[NDArray[np.float64]]]:
    """The number of the bin of each value, [N, F] (NaN stays), and the borders between bins.

    Bin k of a column holds what lies above its border k - 1 and not above its border k. Borders
    lie half-way between neighbouring values; of more than `max_bins` values, at their quantiles.
    """
    bins, borders = np.full(features.shape, np.nan, np.float32), []
    for place, column in enumerate(features.T.astype(np.float64)):
        known = ~np.isnan(column)
        values = np.unique(column[known])
        if len(values) <= max_bins:
            found = (values[1:] + values[:-1]) / 2
        else:
            shares = np.linspace(0, 1, max_bins + 1)[1:-1]
            found = np.unique(np.quantile(column[known], shares, method="averaged_inverted_cdf"))
        bins[known, place] = np.searchsorted(found, column[known], side="left")
        borders.append(found)
    return bins, borders


LEARNING_RATE, MAX_LEAVES, MIN_LEAF_ROWS, RIDGE, FEATURE_SHARE = 0.1, 8, 10, 2.0, 0.5
CERTAIN = 20.0
"""Log-odds where there is nothing to tell apart."""
