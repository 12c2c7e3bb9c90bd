"""What a detector finds in a file of responses, and how often it is right where labels say."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.errors import InputError
from parley.platform.maxims.detector.feature_detector import UNKNOWN, FeatureDetector
from parley.platform.maxims.detector.thresholds import f1_scores
from parley.platform.maxims.false_alarms import NO_VERDICT, describe_unfitness, find_clean
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.loading import load_detector
from parley.platform.maxims.pairs.labelled import LabelledRows, read_labelled
from parley.platform.maxims.text.exchange import MAXIMS
from parley.platform.records import Metrics
from parley.platform.report.intervals import (
    effective_number,
    share_interval,
    unit_share_interval,
)
from parley.platform.runs.checkpoints import resolve_checkpoint

LENGTHS = ((0, 7, "1-7 words"), (8, 15, "8-15 words"), (16, 30, "16-30 words"),
           (31, 10**9, "31 words or more"))  # fmt: skip
"""Buckets of response length: first and last number of words, and the name."""

Flags = NDArray[np.bool_]
Scores = NDArray[np.float64]
Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """The findings in one file."""

    source: LabelledRows
    scores: Scores
    """Of the rows, [N, 4]."""
    thresholds: Scores
    """[4]"""
    metrics: Metrics
    num_known: int | None
    """Rows whose conversation the detector has learned from, each judged by a model that has not
    seen it; None for a detector that keeps no such record."""

    @property
    def found(self) -> Flags:
        """Which maxims each response violates, [N, 4]."""
        flags: Flags = self.scores >= self.thresholds
        return flags


def detect_file(path: Path, detector_name: str) -> Detection:
    """Judge every response of a file; measure the detector where rows have labels.

    Raises:
        InputError: the file or the detector cannot be used.
    """
    source = read_labelled(path)
    if remark := source.describe_spelt_ends():
        _tell(remark)
    detector = load_detector(detector_name, "detector", _tell)
    exchanges = [row.exchange for row in source.rows]
    scores = detector.score_rows(exchanges)
    humans = [row.exchange._replace(response=row.human) for row in source.rows if row.human]
    human_scores = detector.score_rows(humans)
    num_known = None
    if isinstance(detector, FeatureDetector):
        num_known = int((detector.find_folds(exchanges) != UNKNOWN).sum())
    metrics = measure_clean(source, detector)
    metrics |= measure_rows(source, scores >= detector.thresholds)
    if humans:
        flags = np.any(human_scores >= detector.thresholds, axis=1)
        metrics |= measure_rate("human_flag_rate", flags, _groups(source, with_human=True))
        metrics["human_rows"] = len(humans)
    return Detection(source, scores, detector.thresholds, metrics, num_known)


def evaluate_detector(
    path: Path, episodes: int | None = None, seed: int | None = None, data: Path | None = None
) -> Metrics:
    """The figures of a trained detector on a file of responses.

    Raises:
        InputError: no file is given, or it cannot be used.
    """
    if data is None:
        raise InputError(
            "a detector is measured on a file of responses: give one by --data FILE; what it "
            "reached in training stands in the run's result.json"
        )
    checkpoint = resolve_checkpoint(path)
    metrics = detect_file(data, str(checkpoint.path)).metrics
    if metrics[NO_VERDICT]:
        _tell(f"NO VERDICT: {metrics[NO_VERDICT]}")
    return {name: value for name, value in metrics.items() if not name.startswith("by_")}


def measure_clean(source: LabelledRows, detector: Detector) -> Metrics:
    """How much of what people said in the file is flagged, and whether that decides anything."""
    clean, kind = find_clean(source.rows)
    metrics: Metrics = {NO_VERDICT: None, "clean_source": kind, "clean_rows": len(clean)}
    if clean:
        flags = np.any(detector.find_violations([one.exchange for one in clean]), axis=1)
        numbers: dict[str, int] = {}
        groups = [numbers.setdefault(one.conversation, len(numbers)) for one in clean]
        metrics |= measure_rate("clean_flag_rate", flags, np.array(groups, np.int64))
        rate, interval = metrics["clean_flag_rate"], metrics["clean_flag_rate_ci95"]
        metrics[NO_VERDICT] = describe_unfitness(detector, rate, interval, kind) or None
    return metrics


def measure_rows(source: LabelledRows, found: Flags) -> Metrics:
    """The figures of findings [N, 4]: flag rates, and precision, recall, F1 where rows have labels.

    Intervals take conversations as the independent units (rows where these have no id).
    """
    groups = _groups(source)
    metrics: Metrics = {"rows": len(source.rows), "dropped_rows": len(source.problems)}
    metrics |= measure_rate("flag_rate", np.any(found, axis=1), groups)
    metrics |= measure_rates("flag_rate_by_maxim", found, groups)
    picks = np.array([row.labels is not None for row in source.rows])
    metrics["labelled_rows"] = int(picks.sum())
    if not picks.any():
        return metrics
    labels = np.array([row.labels for row in source.rows if row.labels is not None], bool)
    kinds = [row.violation_type for row in source.rows if row.labels is not None]
    words = np.array([len(row.exchange.response.split()) for row in source.rows])[picks]
    flags = found[picks]
    metrics |= measure_labels(flags, labels, groups[picks])
    metrics["by_type"] = measure_types(flags, labels, kinds)
    metrics["by_length"] = measure_lengths(flags, labels, words)
    return metrics


def measure_labels(found: Flags, labels: Flags, groups: NDArray[np.int64]) -> Metrics:
    """Macro-F1, and precision, recall and F1 by maxim, each with an interval.

    The macro-F1 is that of the maxims that are labelled or found at all.

    Args:
        found, labels: [N, 4].
        groups: [N] numbers from 0; rows of one group are not independent.
    """
    counts = np.zeros((int(groups.max()) + 1, 4, len(MAXIMS)))
    for place, hits in enumerate((found & labels, found, labels, found | labels)):
        np.add.at(counts[:, place], groups, hits)
    both, flagged, wanted, either = counts.swapaxes(0, 1)  # [G, 4] each
    scores = {
        "f1": _Ratio(2 * both, flagged + wanted, either),
        "precision": _Ratio(both, flagged, flagged),
        "recall": _Ratio(both, wanted, wanted),
    }
    present = either.any(axis=0)
    metrics: Metrics = {"macro_f1": None, "macro_f1_ci95": None}
    if present.any():
        f1 = scores["f1"]
        deviations = f1.deviations[:, present].mean(axis=1)
        verdicts = either.sum(axis=1)
        macro = float(f1.values[present].mean())
        interval = share_interval(macro, deviations, verdicts.sum(), effective_number(verdicts))
        metrics = {"macro_f1": macro, "macro_f1_ci95": list(interval)}
    for name, score in scores.items():
        metrics[f"{name}_by_maxim"] = _by_maxim(score.values)
        metrics[f"{name}_by_maxim_ci95"] = dict(zip(MAXIMS, score.intervals(), strict=True))
    metrics["violations_by_maxim"] = {
        maxim: int(number) for maxim, number in zip(MAXIMS, labels.sum(axis=0), strict=True)
    }
    return metrics


def measure_types(found: Flags, labels: Flags, kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """By type of violation: rows, the share of violations found, the share of rows flagged at all.

    A clean type has no violations to find.
    """
    table: dict[str, dict[str, float]] = {}
    for kind in sorted(set(kinds)):
        rows = np.array([other == kind for other in kinds])
        wanted = labels[rows].sum()
        hits = (found[rows] & labels[rows]).sum()
        table[kind or "unnamed"] = {
            "rows": int(rows.sum()),
            **({"recall": float(hits / wanted)} if wanted else {}),
            "flagged": float(found[rows].any(axis=1).mean()),
        }
    return table


def measure_lengths(found: Flags, labels: Flags, words: NDArray[Any]) -> Metrics:
    """By bucket of response length, words [N]: rows, macro-F1 over the maxims in it, flag rate."""
    table: Metrics = {}
    for first, last, name in LENGTHS:
        rows = (words >= first) & (words <= last)
        if rows.any():
            present = labels[rows].any(axis=0) | found[rows].any(axis=0)
            f1 = f1_scores(found[rows], labels[rows])
            clean = ~labels[rows].any(axis=1)
            table[name] = {
                "rows": int(rows.sum()),
                "macro_f1": float(f1[present].mean()) if present.any() else None,
                "flagged": float(found[rows].any(axis=1).mean()),
                "clean_rows": int(clean.sum()),
            }
    return table


@dataclass(frozen=True)
class _Ratio:
    """A ratio of counts by maxim, in [0, 1]: 0 where there is nothing to divide by."""

    hits: Counts
    """[G, 4], by group of rows that are drawn together."""
    trials: Counts
    """[G, 4]"""
    rows: Counts
    """[G, 4], the rows that these counts are of."""

    @property
    def values(self) -> Scores:
        """[4]"""
        values: Scores = self.hits.sum(0) / np.maximum(self.trials.sum(0), 1)
        return values

    @property
    def deviations(self) -> Scores:
        """[G, 4]: how far each group moves the ratio, to first order."""
        deviations: Scores = (self.hits - self.values * self.trials) / np.maximum(
            self.trials.sum(0), 1
        )
        return deviations

    def intervals(self) -> Iterator[list[float]]:
        """Of each maxim; 0 to 1 where no row tells anything."""
        for maxim, rows in enumerate(self.rows.T):
            if rows.any():
                yield list(
                    share_interval(
                        float(self.values[maxim]),
                        self.deviations[:, maxim],
                        rows.sum(),
                        effective_number(rows),
                    )
                )
            else:
                yield [0.0, 1.0]


def measure_rate(name: str, flags: NDArray[Any], groups: NDArray[np.int64]) -> Metrics:
    """A share of rows, with its interval over groups."""
    hits, sizes = np.bincount(groups, flags), np.bincount(groups)
    return {name: float(flags.mean()), f"{name}_ci95": list(unit_share_interval(hits, sizes))}


def measure_rates(name: str, flags: Flags, groups: NDArray[np.int64]) -> Metrics:
    """The same of each column of flags [N, 4], by maxim."""
    rates = [measure_rate("rate", column, groups) for column in flags.T]
    return {
        name: {maxim: rate["rate"] for maxim, rate in zip(MAXIMS, rates, strict=True)},
        f"{name}_ci95": {maxim: r["rate_ci95"] for maxim, r in zip(MAXIMS, rates, strict=True)},
    }


def _by_maxim(values: NDArray[Any]) -> dict[str, float]:
    return {maxim: float(value) for maxim, value in zip(MAXIMS, values, strict=True)}


def _groups(source: LabelledRows, with_human: bool = False) -> NDArray[np.int64]:
    """A number for the conversation of each row (of those with a human response where asked)."""
    numbers: dict[str, int] = {}
    names = [
        row.conversation or f"\x00{row.place}" for row in source.rows if row.human or not with_human
    ]
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
