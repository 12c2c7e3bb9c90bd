"""From which log-odds on a head says yes: as much found as the false alarms allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.violation_heads import HEADS
from parley.platform.maxims.text.exchange import MAXIMS

Scores = NDArray[np.float64]

GRID = np.concatenate([np.linspace(-4.0, 5.0, 37), [50.0]])
"""Offsets tried; the last one never says yes."""
PRICES = (0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""What a unit of flag rate costs in macro-F1; the lowest price is taken that keeps the limit."""
ROUNDS = 3


class JudgedRows(NamedTuple):
    """Rows with labels that the judging models have not learned from."""

    log_odds: Scores
    """[N, H]"""
    labels: NDArray[np.bool_]
    """[N, 4]"""
    weight: float
    """Of their macro-F1 compared with that of other sets."""


def choose_offsets(
    judged: Sequence[JudgedRows], clean: Sequence[Scores], max_flag_rate: float
) -> Scores:
    """The offsets [H] of a high weighted macro-F1 at a bounded rate of false alarms.

    False alarms have a price, and the offsets of the best bargain are searched one head at a time,
    in turns: so every head gets the alarms that it makes most of. The price rises until the limit
    holds for the most flagged set of clean rows; a row is flagged if any head says yes.

    Args:
        judged: sets of rows with labels; empty sets do not count.
        clean: log-odds [N, H] of sets of clean rows.
        max_flag_rate: largest share of any clean set to be flagged.
    """
    judged = [rows for rows in judged if len(rows.labels)]
    clean = [scores for scores in clean if len(scores)]
    offsets = np.full(len(HEADS), GRID[-1])
    for price in PRICES:
        offsets = _bargain(judged, clean, price)
        if _flag_rate(offsets, clean) <= max_flag_rate:
            return offsets
    return offsets


def _bargain(judged: Sequence[JudgedRows], clean: Sequence[Scores], price: float) -> Scores:
    """The offsets of the highest macro-F1 less the price of the flag rate."""
    offsets = np.full(len(HEADS), 1.0)
    best = -np.inf
    for _ in range(ROUNDS):
        before = best
        for column in range(len(HEADS)):
            for candidate in GRID:
                tried = offsets.copy()
                tried[column] = candidate
                value = _macro_f1(tried, judged) - price * _flag_rate(tried, clean)
                if value > best:
                    best, offsets = value, tried
        if best == before:
            break
    return offsets


def f1_scores(found: NDArray[np.bool_], labels: NDArray[np.bool_]) -> Scores:
    """F1 of each column, [M], of findings and labels [N, M]; 0 where nothing is found or labelled.

    F1 = 2 TP / (2 TP + FP + FN) (van Rijsbergen 1979).
    """
    both = (found & labels).sum(axis=0)
    either = found.sum(axis=0) + labels.sum(axis=0)
    scores: Scores = 2.0 * both / np.maximum(either, 1)
    return scores


_IS_OF_MAXIM = np.array([[head.maxim == column for column in range(len(MAXIMS))] for head in HEADS])
"""Which head speaks for which maxim, [H, 4]."""


def _macro_f1(offsets: Scores, judged: Sequence[JudgedRows]) -> float:
    """The weighted sum over all sets."""
    value = 0.0
    for rows in judged:
        found = (rows.log_odds >= offsets) @ _IS_OF_MAXIM
        value += rows.weight * float(f1_scores(found, rows.labels).mean())
    return value


def _flag_rate(offsets: Scores, clean: Sequence[Scores]) -> float:
    """Of the most flagged set."""
    rates = [float((scores >= offsets).any(axis=1).mean()) for scores in clean]
    return max(rates, default=0.0)
