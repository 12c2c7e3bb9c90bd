"""Confidence intervals beside every mean."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 2_000


def bootstrap_interval(values: NDArray[Any], level: float = 0.95) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean (Efron 1979).

    Args:
        values: [N], N >= 1, independent.
        level: coverage.
    """
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(values), size=(NUM_RESAMPLES, len(values)))
    means = np.asarray(values)[picks].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_rate_interval(
    hits: NDArray[Any], trials: NDArray[Any], level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of `hits.sum() / trials.sum()`.

    Args:
        hits, trials: [N], by unit (such as an episode), units being independent; trials >= 1.
        level: coverage.
    """
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(hits), size=(NUM_RESAMPLES, len(hits)))
    rates = np.asarray(hits)[picks].sum(axis=1) / np.asarray(trials)[picks].sum(axis=1)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson_interval(rate: float, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927).

    It keeps its coverage near 0 and 1, where a bootstrap of trials that all went alike would
    claim certainty: all of 1,000 give 0.996 to 1.

    Args:
        rate: share of the trials that succeeded.
        trials: their number, > 0.
        level: coverage.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    shrink = 1 / (1 + z**2 / trials)
    centre = shrink * (rate + z**2 / (2 * trials))
    reach = shrink * z * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    # Rounding must not move an end past the rate that it encloses.
    return max(0.0, min(rate, centre - reach)), min(1.0, max(rate, centre + reach))
