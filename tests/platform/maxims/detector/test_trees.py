"""Trees: equal to scikit-learn's own, and offsets that keep their limit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from parley.platform.maxims.detector.thresholds import JudgedRows, choose_offsets, f1_scores
from parley.platform.maxims.detector.trees import (
    FEATURE_SHARE,
    LEARNING_RATE,
    MAX_LEAVES,
    MIN_LEAF_ROWS,
    RIDGE,
    Trees,
    bin_columns,
)
from parley.platform.maxims.detector.violation_heads import (
    HEADS,
    LEFT_OUT,
    head_targets,
    join_heads,
)


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
        expected = model.decision_function(rows)
        assert np.allclose(Trees.export(model).log_odds(rows), expected, atol=1e-12)


def test_trees_of_few_values_are_those_that_scikit_learn_grows() -> None:
    rng = np.random.default_rng(0)
    features = (rng.integers(0, 40, (300, 5)) / 7).astype(np.float32)
    labels = features[:, 0] + features[:, 1] > 5
    features[rng.random(features.shape) < 0.15] = np.nan
    weights = rng.random(300)
    trees = Trees.fit(features, labels, weights, 12, 0)
    settings = dict(learning_rate=LEARNING_RATE, max_leaf_nodes=MAX_LEAVES, random_state=0)
    settings |= dict(min_samples_leaf=MIN_LEAF_ROWS, l2_regularization=RIDGE)
    model = HistGradientBoostingClassifier(
        max_iter=12, max_features=FEATURE_SHARE, early_stopping=False, **settings
    )
    model.fit(features, labels, sample_weight=weights)
    between = (rng.random((200, 5)) * 6).astype(np.float32)
    for rows in (features, between):
        assert np.allclose(trees.log_odds(rows), model.decision_function(rows), atol=1e-12)


@pytest.mark.parametrize("num_values", [2, 40, 1_000])
def test_bins_keep_the_order_and_their_borders(num_values: int) -> None:
    rng = np.random.default_rng(num_values)
    column = (rng.integers(0, num_values, 3_000) ** 2).astype(np.float32)
    column[::7] = np.nan
    bins, (borders,) = bin_columns(column[:, None], max_bins=64)
    known = ~np.isnan(column)
    assert np.array_equal(np.isnan(bins[:, 0]), ~known)
    numbers = bins[known, 0].astype(int)
    assert numbers.max() == len(borders) < 64 or num_values <= 64
    limits = np.concatenate([[-np.inf], borders, [np.inf]])
    assert np.all((limits[numbers] < column[known]) & (column[known] <= limits[numbers + 1]))


def test_missing_values_that_training_never_saw_go_where_scikit_learn_sends_them() -> None:
    features, labels = _data(0)
    whole = np.nan_to_num(features)
    model = HistGradientBoostingClassifier(max_iter=5, early_stopping=False).fit(whole, labels)
    expected = model.decision_function(features)
    assert np.allclose(Trees.export(model).log_odds(features), expected, atol=1e-12)


def test_trees_survive_their_arrays() -> None:
    features, labels = _data(1)
    trees = Trees.fit(features, labels, np.ones(len(labels)), 5, 0)
    again = Trees.from_arrays(trees.arrays())
    assert np.array_equal(again.log_odds(features), trees.log_odds(features))
    assert trees.log_odds(features[:0]).shape == (0,)


def test_f1_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    found, labels = rng.random((2, 50, 4)) < 0.4
    for column, score in enumerate(f1_scores(found, labels)):
        hits = sum(f and y for f, y in zip(found[:, column], labels[:, column], strict=True))
        precision, recall = hits / found[:, column].sum(), hits / labels[:, column].sum()
        assert score == pytest.approx(2 * precision * recall / (precision + recall))


def _judged(rng: np.random.Generator) -> tuple[JudgedRows, np.ndarray]:
    """Rows whose heads are right but for some noise, and log-odds of clean rows."""
    labels = rng.random((400, 4)) < 0.25
    said = np.stack([labels[:, head.maxim] for head in HEADS], axis=1)
    log_odds = np.asarray(4.0 * said - 3.0 + rng.normal(size=said.shape) * 0.8, np.float64)
    clean = np.asarray(rng.normal(size=(400, len(HEADS))) * 0.8 - 3.0, np.float64)
    return JudgedRows(log_odds, labels, 1.0), clean


@pytest.mark.parametrize("limit", [0.02, 0.1])
def test_offsets_find_the_violations_and_keep_the_limit(limit: float) -> None:
    judged, clean = _judged(np.random.default_rng(0))
    offsets = choose_offsets([judged], [clean], limit)
    assert np.any(clean >= offsets, axis=1).mean() <= limit
    found = join_heads(judged.log_odds, offsets) >= 0.5
    assert f1_scores(found, judged.labels).mean() > 0.85


def test_a_head_that_knows_nothing_is_silenced() -> None:
    rng = np.random.default_rng(0)
    judged, clean = _judged(rng)
    judged.log_odds[:, 0], clean[:, 0] = rng.normal(size=400), rng.normal(size=400)
    offsets = choose_offsets([judged], [clean], 0.05)
    assert (clean[:, 0] >= offsets[0]).mean() < 0.05


def test_every_maxim_has_heads_and_knows_its_kinds() -> None:
    assert {head.maxim for head in HEADS} == {0, 1, 2, 3}
    kinds = ["manner_jargon", "multi_quantity_manner", "none", "odd_manner"]
    labels = np.array([[0, 0, 0, 1], [1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
    targets = dict(zip((head.name for head in HEADS), head_targets(kinds, labels).T, strict=True))
    assert targets["manner_jargon"].tolist() == [1, LEFT_OUT, 0, LEFT_OUT]
    assert targets["manner_ambiguous"].tolist() == [LEFT_OUT, 1, 0, LEFT_OUT]
    assert targets["manner"].tolist() == [1, 1, 0, 1]
    assert targets["quantity_over"].tolist() == [0, 1, 0, 0]


def test_a_maxim_is_as_likely_as_its_likeliest_head() -> None:
    log_odds = np.full((1, len(HEADS)), -9.0)
    column = [head.name for head in HEADS].index("manner_jargon")
    log_odds[0, column] = 1.5
    probabilities = join_heads(log_odds, np.full(len(HEADS), 1.5))
    assert probabilities[0, 3] == pytest.approx(0.5)
    assert (probabilities[0, :3] < 0.01).all()


def test_where_there_is_nothing_to_tell_apart_every_row_gets_the_same_answer() -> None:
    features, labels = _data(0)
    none = Trees.fit(features, np.zeros_like(labels), np.ones(len(labels)), 5, 0)
    assert (none.log_odds(features) < -10).all()
