"""Confidence intervals of rates whose trials come in units."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from parley.platform.evaluation.intervals import bootstrap_rate_interval, wilson_interval


def test_a_rate_lies_in_its_interval_which_shrinks_with_the_units() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for num_units in (20, 320):
        trials = generator.integers(1, 50, size=num_units)
        hits = generator.binomial(trials, 0.3)
        low, high = bootstrap_rate_interval(hits, trials)
        assert low < hits.sum() / trials.sum() < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.4)


def test_units_count_by_their_trials() -> None:
    assert bootstrap_rate_interval(np.array([0, 0]), np.array([1, 9])) == (0.0, 0.0)
    low, high = bootstrap_rate_interval(np.array([10, 0]), np.array([10, 90]))
    assert (low, high) == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "trials"), [(0, 7), (1, 40), (500, 1_000), (999, 1_000)])
def test_the_score_interval_is_scipys(hits: int, trials: int) -> None:
    found = wilson_interval(hits / trials, trials)
    expected = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found[0] <= hits / trials <= found[1]


def test_all_of_a_thousand_is_not_certainty() -> None:
    low, high = wilson_interval(1.0, 1_000)
    assert high == 1.0 and low == pytest.approx(0.9962, abs=1e-4)
