"""Confidence intervals of rates whose trials come in units."""

from __future__ import annotations

import numpy as np
import pytest

from parley.platform.evaluation.intervals import bootstrap_rate_interval


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
