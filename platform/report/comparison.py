"""Runs side by side: settings that differ, figures with intervals, curves over each other.

Read from the run folders alone: no model is loaded. All runs are compared with the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from parley.platform.errors import InputError, display_path
from parley.platform.report.charts import Chart, Line
from parley.platform.report.curves import finite, make_charts
from parley.platform.report.figures import ALIASES, INTERVAL_SUFFIX
from parley.platform.report.page import UNFINISHED
from parley.platform.runs.run_folder import TRIALS_FILE, RunFolder

Interval = tuple[float, float]

MEASURING = ("env.", "language.", "dialogue.", "data.", "judges.", "evaluation.")
"""Beginnings of the settings that say what is measured, and on what."""
UNMEASURING = ("evaluation.interval",)
"""Of these, those that say only when."""
UNCOMPARED = ("summary",)
MAX_RUNS = 26
"""Runs are called by letters."""


@dataclass(frozen=True)
class Figure:
    """A final figure, and the 95 % interval where it has one."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Difference:
    """A run's figure less that of the first run."""

    value: float
    interval: Interval | None
    """Of the difference, where both figures have one."""

    @property
    def is_beyond(self) -> bool | None:
        """Whether it is more than the intervals say; None: they say nothing."""
        return None if self.interval is None else not self.interval[0] <= 0.0 <= self.interval[1]


@dataclass(frozen=True)
class ComparedRun:
    """What a comparison reads of a run."""

    letter: str
    path: Path
    experiment: str
    workflow: str
    status: str
    seconds: float | None
    settings: Mapping[str, object]
    """By dotted key."""
    figures: Mapping[str, Figure]
    """Of a finished run; `exact_match_by_length.3` is an entry of a table."""
    charts: Mapping[tuple[str, str], Chart]
    """(title, label of the line) -> a chart of that line alone."""
    num_iterations: int

    @classmethod
    def read(cls, letter: str, path: Path) -> ComparedRun:
        """What lies in the folder of a run, finished or not.

        Raises:
            InputError: there is no run.
        """
        folder = RunFolder.open(path)
        rows, result = folder.read_metrics(), folder.read_result() or {}
        settings = folder.config.model_dump(exclude_none=True)
        status = str(result.get("status", UNFINISHED))
        metrics = result.get("metrics")
        is_final = status == "done" and isinstance(metrics, Mapping)
        # The rows of a sweep are those of its trials, and no curve of one training.
        charts = [] if (path / TRIALS_FILE).is_file() else make_charts(rows, settings)
        return cls(
            letter=letter,
            path=path,
            experiment=folder.config.experiment,
            workflow=folder.config.workflow,
            status=status,
            seconds=finite(result.get("seconds")),
            settings=dict(_flatten(settings)),
            figures=dict(_find_figures(metrics)) if is_final else {},  # type: ignore[arg-type]
            charts={(chart.title, line.label): chart for chart in charts for line in chart.lines},
            num_iterations=len(rows),
        )


@dataclass(frozen=True)
class Comparison:
    """Runs of one workflow, the first of which the others are compared with."""

    runs: tuple[ComparedRun, ...]

    @cached_property
    def settings(self) -> dict[str, list[object]]:
        """Dotted key -> the runs' values, where these differ; None where a run has no such one."""
        keys = dict.fromkeys(key for run in self.runs for key in run.settings)
        table = {key: [run.settings.get(key) for run in self.runs] for key in keys}
        return {
            key: values
            for key, values in table.items()
            if key not in UNCOMPARED and any(value != values[0] for value in values)
        }

    @cached_property
    def figures(self) -> dict[str, list[Figure | None]]:
        """Name -> the runs' figures, where at least two have it."""
        names = dict.fromkeys(name for run in self.runs for name in run.figures)
        table = {name: [run.figures.get(name) for run in self.runs] for name in names}
        return {
            name: values
            for name, values in table.items()
            if sum(value is not None for value in values) > 1
        }

    def differences(self, name: str) -> list[Difference | None]:
        """The runs' figures less the first run's; None for that one, and where one is missing."""
        first, *others = self.figures[name]
        return [None, *(subtract(first, other) for other in others)]

    @cached_property
    def charts(self) -> list[Chart]:
        """A line of every run that has the figure, over each other; at least two runs have it."""
        keys = dict.fromkeys(key for run in self.runs for key in run.charts)
        drawn = []
        for title, label in keys:
            lines: list[Line] = []
            one: Chart | None = None
            for run in self.runs:
                chart = run.charts.get((title, label))
                if chart is None or (one is not None and chart.x_label != one.x_label):
                    continue
                one = one or chart
                points = next(line.points for line in chart.lines if line.label == label)
                lines.append(Line(run.letter, points))
            if one is not None and len(lines) > 1:
                name = title if title == label else f"{title}: {label}"
                drawn.append(
                    Chart(name, one.unit, one.x_label, lines, (), low=one.low, high=one.high)
                )
        return drawn

    @cached_property
    def notes(self) -> list[str]:
        """What a reader has to know before the figures."""
        return [*self._status_notes(), *self._measuring_notes(), *self._chance_notes()]

    def _status_notes(self) -> Iterator[str]:
        for run in self.runs:
            if run.status != "done":
                yield (
                    f"{run.letter} is {run.status}: it has no final figures, and its curves go as "
                    f"far as it came"
                )
        names = {name for run in self.runs for name in run.figures}
        alone = sorted(names - set(self.figures))
        if alone and sum(bool(run.figures) for run in self.runs) > 1:
            yield f"figures of one run only are left out: {', '.join(alone)}"

    def _measuring_notes(self) -> Iterator[str]:
        keys = [
            key
            for key in self.settings
            if key.startswith(MEASURING) and not key.startswith(UNMEASURING)
        ]
        if keys and self.figures:
            yield (
                f"the runs are not measured alike ({', '.join(keys)} differ): a difference of "
                f"figures may come from that"
            )

    def _chance_notes(self) -> Iterator[str]:
        found = [
            difference.is_beyond
            for name in self.figures
            for difference in self.differences(name)
            if difference is not None and difference.is_beyond is not None
        ]
        if any(found):
            yield (
                "an interval says how well a policy was measured, not how much trainings differ "
                "by their seeds: repeat both with others before a setting gets the credit"
            )
        if len(found) > 1:
            yield (
                f"{len(found)} differences have intervals: by chance about one in 20 is beyond "
                f"them where there is none"
            )


def compare(paths: Sequence[Path]) -> Comparison:
    """The comparison of two runs or more.

    Raises:
        InputError: fewer than two different runs, no run, or runs of different workflows.
    """
    places = {path.resolve(): path for path in paths}
    if not 2 <= len(places) <= MAX_RUNS or len(places) < len(paths):
        raise InputError(f"name 2 to {MAX_RUNS} different runs; got {len(places)} of them")
    letters = (chr(ord("A") + index) for index in range(len(places)))
    runs = tuple(ComparedRun.read(next(letters), path) for path in places.values())
    if len({run.workflow for run in runs}) > 1:
        kinds = ", ".join(f"{display_path(run.path)} is one of {run.workflow}" for run in runs)
        raise InputError(f"runs of different workflows have nothing in common to compare: {kinds}")
    return Comparison(runs)


def subtract(first: Figure | None, other: Figure | None) -> Difference | None:
    """`other` less `first`, with an interval for the difference of independent estimates.

    The interval is made of those of both figures (Zou and Donner 2008, "Construction of confidence
    intervals about effect measures", MOVER): each end moves by the root of the sum of squares of
    the two distances that push it there. It keeps the shape of skewed intervals.
    """
    if first is None or other is None:
        return None
    difference = other.value - first.value
    if first.interval is None or other.interval is None:
        return Difference(difference, None)
    low = math.hypot(other.value - other.interval[0], first.interval[1] - first.value)
    high = math.hypot(other.interval[1] - other.value, first.value - first.interval[0])
    return Difference(difference, (difference - low, difference + high))


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _find_figures(
    metrics: Mapping[str, object], prefix: str = "", intervals: object = None
) -> Iterator[tuple[str, Figure]]:
    """The numbers among the metrics, those of tables by dotted names."""
    for name, value in metrics.items():
        if str(name).endswith(INTERVAL_SUFFIX):
            continue
        if intervals is None:
            given = metrics.get(name + INTERVAL_SUFFIX)
        else:
            given = intervals.get(name) if isinstance(intervals, Mapping) else None
        if isinstance(value, Mapping):
            yield from _find_figures(value, f"{prefix}{name}.", given or {})
        elif (number := finite(value)) is not None:
            full = f"{prefix}{name}"
            yield ALIASES.get(full, full), Figure(number, _read_interval(given))


def _read_interval(given: object) -> Interval | None:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
        return None
    low, high = (finite(end) for end in given)
    return None if low is None or high is None else (low, high)
