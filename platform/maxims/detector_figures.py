"""What a detector reaches on the data it was cross-fitted on, every row by an unseeing model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detection import (
    measure_labels,
    measure_lengths,
    measure_rate,
    measure_rates,
    measure_types,
)
from parley.platform.maxims.detector.building import BuiltDetector
from parley.platform.maxims.detector.corpus import CorpusRow
from parley.platform.maxims.detector.feature_detector import FeatureDetector
from parley.platform.records import Metrics

NUM_TIMED_ROWS = 500
UNSEEN_CLEAN_PER_VIOLATED = 0.15
"""Clean turns among the unseen injections; the given labelled rows have one in ten."""


TABLES = ("by_type", "by_length", "by_file", "unseen_phrases_by_type")
"""Figures that are tables of their own."""


def measure_detector(built: BuiltDetector) -> Metrics:
    """The figures of a run of `dialogue/detector`.

    The headline is the first labelled file; without one, the injections with known phrases. Flag
    rates are those of repaired or original responses (`human`) and of turns of conversations.
    """
    rows = built.corpus.rows
    found = built.scores >= built.detector.thresholds
    files = list(dict.fromkeys(row.file for row in rows if row.origin == "labelled"))
    metrics: Metrics = {}
    by_file = {}
    for file in files:
        picks = _where(rows, lambda row, file=file: row.origin == "labelled" and row.file == file)
        measured = _measure(rows, found, picks)
        by_file[file] = {name: measured[name] for name in ("macro_f1", "f1_by_maxim", "rows")}
        if not metrics:
            metrics = measured
    injected = _measure(rows, found, _with_clean(rows, "injected", "turn"))
    metrics = metrics or injected
    metrics |= _prefixed("known_phrases", injected)
    unseen = _measure(rows, found, _with_clean(rows, "unseen", "unseen_turn"))
    metrics |= _prefixed("unseen_phrases", unseen)
    metrics["unseen_phrases_by_type"] = unseen["by_type"]
    for name, origin in (("human", "human"), ("turn", "unseen_turn")):
        picks = _where(rows, lambda row, origin=origin: row.origin == origin)
        if len(picks):
            flags, groups = np.any(found[picks], axis=1), _groups(rows, picks)
            metrics |= measure_rate(f"{name}_flag_rate", flags, groups)
            metrics |= measure_rates(f"{name}_flag_rate_by_maxim", found[picks], groups)
            metrics[f"{name}_rows"] = len(picks)
    if by_file:
        metrics["by_file"] = by_file
    metrics["dropped_rows"] = len(built.corpus.problems)
    metrics["ms_per_row"] = _time_rows(built)
    return metrics


def _measure(
    rows: Sequence[CorpusRow], found: NDArray[np.bool_], picks: NDArray[np.int64]
) -> Metrics:
    """F1 and its like of the rows at `picks`."""
    chosen = [rows[index] for index in picks]
    labels = np.array([row.labels for row in chosen], bool)
    words = np.array([len(row.exchange.response.split()) for row in chosen])
    groups = _groups(rows, picks)
    flags = found[picks]
    return {
        "rows": len(chosen),
        **measure_labels(flags, labels, groups),
        **measure_rate("flag_rate", np.any(flags, axis=1), groups),
        "by_type": measure_types(flags, labels, [row.kind for row in chosen]),
        "by_length": measure_lengths(flags, labels, words),
    }


def _with_clean(rows: Sequence[CorpusRow], violated: str, clean: str) -> NDArray[np.int64]:
    """The violated rows, and clean ones in proportion."""
    picks = _where(rows, lambda row: row.origin == violated)
    others = _where(rows, lambda row: row.origin == clean)
    num = round(len(picks) * UNSEEN_CLEAN_PER_VIOLATED)
    return np.concatenate([picks, others[:num]])


def _prefixed(prefix: str, measured: Metrics) -> Metrics:
    names = ("macro_f1", "macro_f1_ci95", "f1_by_maxim", "rows")
    return {f"{prefix}_{name}": measured[name] for name in names}


def _where(rows: Sequence[CorpusRow], wanted: Any) -> NDArray[np.int64]:
    return np.flatnonzero([bool(wanted(row)) for row in rows])


def _groups(rows: Sequence[CorpusRow], picks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The conversations of the rows at `picks`, numbered from 0."""
    groups = np.array([rows[index].group for index in picks])
    return np.unique(groups, return_inverse=True)[1]


def _time_rows(built: BuiltDetector) -> float:
    """Milliseconds of processor time a row, in a batch of rows that every model judges."""
    rows = [row.exchange for row in built.corpus.rows if row.origin == "unseen_turn"]
    batch = rows[:NUM_TIMED_ROWS]
    unknown = FeatureDetector(built.detector.models, built.detector.offsets, {}, {})
    started = time.process_time()
    unknown.score_rows(batch)
    return 1_000 * (time.process_time() - started) / max(len(batch), 1)
