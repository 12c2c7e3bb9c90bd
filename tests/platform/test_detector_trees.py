"""Trees: equal to scikit-learn's own, and thresholds that keep their limit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from parley.platform.judges.thresholds import choose_thresholds, f1_scores
from parley.platform.judges.trees import Trees


def _data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(300, 5)).astype(np.float32)
    labels = features[:, 0] + features[:, 1] ** 2 + 0.3 * rng.normal(size=300) > 0.8
    features[rng.random(features.shape) < 0.15] = np.nan
    return features, labels


@pytest.mark.parametrize("seed", range(3))
def test_exported_trees_predict_as_scikit_learn_does(seed: int) -> None:
    features, labels = _data(seed)
    model = HistGradientBoostingClassifier(max_iter=15, max_leaf_nodes=7, early_stopping=False)
    model.fit(features, labels)
    unseen, _ = _data(seed + 100)
    for rows in (features, unseen):
        expected = model.predict_proba(rows)[:, 1]
        assert np.allclose(Trees.export(model).predict(rows), expected, atol=1e-12)


def test_missing_values_that_training_never_saw_go_where_scikit_learn_sends_them() -> None:
    features, labels = _data(0)
    whole = np.nan_to_num(features)
    model = HistGradientBoostingClassifier(max_iter=5, early_stopping=False).fit(whole, labels)
    expected = model.predict_proba(features)[:, 1]
    assert np.allclose(Trees.export(model).predict(features), expected, atol=1e-12)


def test_trees_survive_their_arrays() -> None:
    features, labels = _data(1)
    trees = Trees.fit(features, labels, np.ones(len(labels)), 5, 0)
    again = Trees.from_arrays(trees.arrays())
    assert np.array_equal(again.predict(features), trees.predict(features))
    assert trees.predict(features[:0]).shape == (0,)


def test_f1_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    found, labels = rng.random((2, 50, 4)) < 0.4
    for column, score in enumerate(f1_scores(found, labels)):
        hits = sum(f and y for f, y in zip(found[:, column], labels[:, column], strict=True))
        precision, recall = hits / found[:, column].sum(), hits / labels[:, column].sum()
        assert score == pytest.approx(2 * precision * recall / (precision + recall))


def test_thresholds_find_the_violations_and_keep_the_limit() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((400, 4)) < 0.25
    scores = np.asarray(0.3 * labels + 0.4 * rng.random((400, 4)), np.float64)
    clean = 0.4 * rng.random((400, 4))
    for limit in (0.05, 0.3):
        thresholds = choose_thresholds([(scores, labels, 1.0)], [clean], limit)
        assert np.any(clean >= thresholds, axis=1).mean() <= limit
        assert f1_scores(scores >= thresholds, labels).mean() > 0.8


def test_a_maxim_that_cannot_be_told_is_not_flagged() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((400, 4)) < 0.25
    scores = np.asarray(0.9 * labels + 0.05, np.float64)
    scores[:, 3] = rng.random(400)
    clean = np.full((400, 4), 0.05)
    clean[:, 3] = rng.random(400)
    thresholds = choose_thresholds([(scores, labels, 1.0)], [clean], 0.02)
    assert (clean[:, 3] >= thresholds[3]).mean() <= 0.02
