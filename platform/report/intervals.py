"""Confidence intervals next to every mean and share.

Shares get a score interval, which stays within 0 and 1 and never claims certainty; other means a
bootstrap, which stays within the range of what was seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 2_000
LEAST_UNITS = 6
"""Independent units, such as conversations, below which no interval over them shows a difference:
by its signs alone one can be shown from six on, as all of n agree with a chance of 2 * 0.5^n."""
NEGLIGIBLE = 1e-12
"""A variance of a share below this part of its largest is rounding."""


@dataclass(frozen=True)
class Rate:
    """A share and its 95 % interval; all NaN where nothing was counted."""

    value: float
    interval: tuple[float, float]
    count: int
    """What the share is of."""


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
    """The percentile bootstrap interval of `hits.sum() / trials.sum()`, such as nats per token.

    Where that is a share, `unit_share_interval` is the better one.

    Args:
        hits, trials: [N], by unit (such as an episode), units being independent; trials >= 1.
        level: coverage.
    """
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(hits), size=(NUM_RESAMPLES, len(hits)))
    rates = np.asarray(hits)[picks].sum(axis=1) / np.asarray(trials)[picks].sum(axis=1)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson_interval(rate: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927).

    It keeps its coverage near 0 and 1, where a bootstrap of trials that all went alike would
    claim certainty: all of 1,000 give 0.996 to 1.

    Args:
        rate: share of the trials that succeeded.
        trials: their number, > 0; an effective one need not be whole.
        level: coverage.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    shrink = 1 / (1 + z**2 / trials)
    centre = shrink * (rate + z**2 / (2 * trials))
    reach = shrink * z * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    # Rounding must not move an end past the rate that it encloses.
    return max(0.0, min(rate, centre - reach)), min(1.0, max(rate, centre + reach))


def share_interval(
    share: float,
    deviations: NDArray[Any],
    num_trials: float,
    num_units: float,
    level: float = 0.95,
) -> tuple[float, float]:
    """Wilson's interval of a share whose trials are not independent, or not of equal weight.

    The trials count as so many independent ones as would vary as much (the effective number of
    Kish 1965; with Wilson's interval: Dean and Pagano 2015). Where all units agree, their spread
    tells nothing of how alike the trials of one unit are: then each unit is one trial.

    Args:
        share: in [0, 1].
        deviations: [C], by independent unit: how far it moves the share, to first order.
        num_trials: the effective number is at most this.
        num_units: effective number of units.
        level: coverage.
    """
    spread, variance = share * (1.0 - share), float(np.square(deviations).sum())
    agree = variance <= NEGLIGIBLE * spread or spread == 0.0
    return wilson_interval(share, num_units if agree else min(num_trials, spread / variance), level)


def unit_share_interval(
    hits: NDArray[Any], trials: NDArray[Any], level: float = 0.95
) -> tuple[float, float]:
    """The interval of the share `hits.sum() / trials.sum()`; see `share_interval`.

    Args:
        hits, trials: [N], by independent unit (such as an episode), hits <= trials; some trials.
        level: coverage.
    """
    total = float(np.sum(trials))
    share = float(np.sum(hits)) / total
    deviations = (np.asarray(hits) - share * np.asarray(trials)) / total
    return share_interval(share, deviations, total, effective_number(trials), level)


def effective_number(weights: NDArray[Any]) -> float:
    """How many equal weights average as well as these do (Kish 1965)."""
    values = np.asarray(weights, np.float64)
    return float(values.sum() ** 2 / np.square(values).sum())
