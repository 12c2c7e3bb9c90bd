"""Confidence intervals of rates whose trials come in units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from parley.platform.language.variety import distinct_rate, looping_rate, repeated_rate
from parley.platform.report.intervals import (
    bootstrap_rate_interval,
    effective_number,
    unit_share_interval,
    wilson_interval,
)


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


@pytest.mark.parametrize(("hits", "trials"), [(0, 7), (1, 40), (500, 1_000)])
def test_independent_trials_have_the_score_interval(hits: int, trials: int) -> None:
    marks = np.arange(trials) < hits
    found = unit_share_interval(marks, np.ones(trials))
    assert found == pytest.approx(wilson_interval(hits / trials, trials))


def test_shares_of_units_cover_the_truth_near_one() -> None:
    generator = np.random.default_rng(3)
    num_covered = 0
    for _ in range(400):
        rates = generator.beta(19, 1, 25)
        trials = generator.integers(1, 12, 25)
        low, high = unit_share_interval(generator.binomial(trials, rates), trials)
        assert 0.0 <= low < high <= 1.0
        num_covered += low <= 19 / 20 <= high
    assert num_covered / 400 > 0.9


@given(
    st.lists(
        st.integers(1, 9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1
    )
)
def test_shares_stay_within_their_range_and_claim_no_certainty(
    counts: list[tuple[int, int]],
) -> None:
    hits, trials = np.array(counts).T
    low, high = unit_share_interval(hits, trials)
    assert 0.0 <= low <= hits.sum() / trials.sum() <= high <= 1.0
    assert low < high


def test_weights_count_by_how_well_they_average() -> None:
    assert effective_number(np.full(8, 0.3)) == pytest.approx(8)
    assert effective_number(np.array([1.0, 0.0, 0.0])) == pytest.approx(1)


@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=3),
        min_size=1,
        max_size=24,
    )
)
def test_shares_of_ngrams_stay_within_their_range(units: list[list[list[int]]]) -> None:
    for rate in (distinct_rate(units, 2), looping_rate(units), repeated_rate(units)):
        low, high = rate.interval
        if rate.count:
            assert 0.0 <= low <= rate.value <= high <= 1.0 and low < high
        else:
            assert np.isnan([low, rate.value, high]).all()


def test_distinct_bigrams_that_hardly_repeat() -> None:
    units = [[[3 * n, 3 * n + 1, 3 * n + 2]] for n in range(60)] + [[[0, 1]]]
    rate = distinct_rate(units, 2)
    assert rate.value == pytest.approx(120 / 121) and rate.count == 121
    low, high = rate.interval
    assert 0.9 < low < rate.value < high < 1.0
