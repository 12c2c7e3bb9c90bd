"""Confidence intervals beside every mean."""

from __future__ import annotations

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
