"""The learning curves of a run as charts.

A new figure needs no curve: what none claims gets a chart of its own, under its key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

from parley.platform.report.charts import Chart, Line, Point, Reference
from parley.platform.report.curve_table import SHARED_CURVES, Curve
from parley.platform.settings.experiments import EXPERIMENTS, ITERATIONS, Experiment, load_named

Row = Mapping[str, object]


COUNTERS = {
    *("iteration", "env_steps", "dialogues", "tokens", "seconds", "num_episodes"),
    *("step", "epoch", "evaluation", "trial"),
}
"""Figures that only count; no chart shows them."""


def make_charts(rows: Sequence[Row], settings: Mapping[str, Any]) -> list[Chart]:
    """The charts of a run, those of its workflow first; without a figure there is no chart.

    Args:
        rows: of `metrics.jsonl`.
        settings: the run's, as nested tables.
    """
    x_key, x_label = _x_axis(rows, settings)
    rows = [_in_todays_names(row) for row in rows]
    curves = _curves_of(settings)
    claimed = {key for curve in curves for key in curve.keys} | COUNTERS
    names = dict.fromkeys(key for row in rows for key in row if key not in claimed)
    others = [Curve(key.replace("_", " ").capitalize(), "", {key: key}) for key in names]
    charts = []
    for curve in (*curves, *others):
        found = {label: _points(rows, x_key, key) for key, label in curve.keys.items()}
        lines = [Line(label, points) for label, points in found.items() if points]
        if lines:
            levels = _levels(curve, settings)
            charts.append(
                Chart(curve.title, curve.unit, x_label, lines, levels, curve.low, curve.high)
            )
    return charts


def setting_at(settings: Mapping[str, Any], key: str) -> object:
    """The value of a dotted key of nested tables; None where it is not there."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def finite(value: object) -> float | None:
    """`value` where it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _in_todays_names(row: Row) -> Row:
    """A row of DPO from before its objective was told in two terms called it the loss."""
    if "reward_chosen" not in row or "objective" in row or "loss" not in row:
        return row
    return {("objective" if key == "loss" else key): value for key, value in row.items()}


def _levels(curve: Curve, settings: Mapping[str, Any]) -> tuple[Reference, ...]:
    value = finite(setting_at(settings, curve.setting)) if curve.setting else None
    own = () if value is None else (Reference(curve.level_label, value),)
    highest = finite(setting_at(settings, "env.max_steps")) or math.inf
    others = (level for level in curve.levels if level.value != value and level.value <= highest)
    return (*own, *others)


def name_iterations(settings: Mapping[str, Any]) -> str:
    """What `iteration` counts in the rows of a run."""
    row = _row_of(settings)
    return ITERATIONS if row is None else row.counts


def _x_axis(rows: Sequence[Row], settings: Mapping[str, Any]) -> tuple[str, str]:
    row, iterations = _row_of(settings), ("iteration", name_iterations(settings))
    key, label = iterations if row is None or row.x_axis is None else row.x_axis
    values = [x for row in rows if (x := finite(row.get(key))) is not None]
    grows = len(values) == len(rows) and all(a < b for a, b in pairwise(values))
    return (key, label) if grows else iterations


def _row_of(settings: Mapping[str, Any]) -> Experiment | None:
    kind = (str(settings.get("workflow", "")), str(settings.get("algorithm", "ppo")))
    return EXPERIMENTS.get(kind)


def _curves_of(settings: Mapping[str, Any]) -> Sequence[Curve]:
    row = _row_of(settings)
    return SHARED_CURVES if row is None else cast("Sequence[Curve]", load_named(row.curves))


def _points(rows: Sequence[Row], x_key: str, key: str) -> list[Point]:
    pairs = ((finite(row.get(x_key)), finite(row.get(key))) for row in rows)
    return sorted({x: y for x, y in pairs if x is not None and y is not None}.items())
