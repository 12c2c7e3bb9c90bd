"""From which probability on a maxim counts as violated: as many found as the false alarms allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parley.platform.preferences.exchange import MAXIMS

Scores = NDArray[np.float64]

GRID = np.concatenate([np.linspace(0.01, 0.99, 99), [1.01]])
"""Thresholds tried; the last one flags nothing."""
ROUNDS = 4
PENALTY = 20.0
"""Macro-F1 given up for each unit of flag rate above the limit."""


def choose_thresholds(
    judged: Sequence[tuple[Scores, NDArray[np.bool_], float]],
    clean: Sequence[Scores],
    max_flag_rate: float,
) -> Scores:
    """The thresholds [4] of the highest weighted macro-F1 at a bounded rate of false alarms.

    Searched one maxim at a time, in turns, from one half on; the limit holds for the most flagged
    set of clean rows, where a row is flagged if any maxim is.

    Args:
        judged: sets of rows with labels: scores [N, 4], labels [N, 4] and the set's weight; none
            that the detector has learned from.
        clean: scores [N, 4] of sets of clean rows.
        max_flag_rate: largest share of any clean set to be flagged.
    """
    thresholds = np.full(len(MAXIMS), 0.5)
    best = _value(thresholds, judged, clean, max_flag_rate)
    for _ in range(ROUNDS):
        before = best
        for maxim in range(len(MAXIMS)):
            for candidate in GRID:
                tried = thresholds.copy()
                tried[maxim] = candidate
                value = _value(tried, judged, clean, max_flag_rate)
                if value > best:
                    best, thresholds = value, tried
        if best == before:
            break
    return thresholds


def f1_scores(found: NDArray[np.bool_], labels: NDArray[np.bool_]) -> Scores:
    """F1 of each column, [M], of findings and labels [N, M]; 0 where nothing is found or labelled.

    F1 = 2 TP / (2 TP + FP + FN) (van Rijsbergen 1979).
    """
    both = (found & labels).sum(axis=0)
    either = found.sum(axis=0) + labels.sum(axis=0)
    scores: Scores = 2.0 * both / np.maximum(either, 1)
    return scores


def _value(
    thresholds: Scores,
    judged: Sequence[tuple[Scores, NDArray[np.bool_], float]],
    clean: Sequence[Scores],
    max_flag_rate: float,
) -> float:
    value = sum(
        weight * f1_scores(scores >= thresholds, labels).mean() for scores, labels, weight in judged
    )
    rates = [float((scores >= thresholds).any(axis=1).mean()) for scores in clean if len(scores)]
    return float(value - PENALTY * max(0.0, max(rates, default=0.0) - max_flag_rate))
