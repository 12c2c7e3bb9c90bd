"""One figure over two settings: a table of shaded cells, or circles where the values were drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from parley.platform.report.curves import finite

WIDTH, HEIGHT = 340, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 36, 16, 40
"""Margins of the circles' plot, in the picture's units."""
LOG_RATIO = 10.0
"""Positive values that reach over more than this are laid out by their logarithm."""
SPARSE = 2.0
"""With more cells than so many times the points, circles are drawn instead of a table."""


@dataclass(frozen=True)
class Spot:
    """What was found at one place."""

    down: Any
    """Value of the setting whose values go down the side."""
    across: Any
    value: float
    note: str
    """What pointing at a circle shows before the value."""


def render_heat_map(
    title: str, down: str, across: str, spots: Sequence[Spot], marks_best: bool = True
) -> str:
    """The map as a card; of several figures at one place the largest counts.

    Args:
        title: name of the figure.
        down, across: names of the settings.
        spots: at least one, with finite values.
        marks_best: whether a larger figure is a better one, and the largest stands out.
    """
    rows, columns = (
        ascending(values) for values in zip(*((s.down, s.across) for s in spots), strict=True)
    )
    numeric = all(
        finite(spot.down) is not None and finite(spot.across) is not None for spot in spots
    )
    if numeric and len(rows) * len(columns) > SPARSE * len(spots):
        body = _render_circles(title, down, across, spots, marks_best)
    else:
        body = _render_cells(down, across, rows, columns, spots, marks_best)
    return f'<div class="card scroll"><h3>{escape(title)}</h3>{body}</div>'


def ascending(values: Iterable[Any]) -> list[Any]:
    """Different values, numbers first."""
    return sorted(
        set(values), key=lambda value: (finite(value) is None, finite(value) or 0.0, str(value))
    )


def value_text(value: object) -> str:
    """A setting's value in few characters."""
    number = finite(value)
    return str(value) if number is None else f"{number:.3g}"


def _render_cells(
    down: str,
    across: str,
    rows: list[Any],
    columns: list[Any],
    spots: Sequence[Spot],
    marks_best: bool,
) -> str:
    best: dict[tuple[Any, Any], float] = {}
    for spot in spots:
        place = (spot.down, spot.across)
        best[place] = max(spot.value, best.get(place, spot.value))
    low, high = min(best.values()), max(best.values())
    marks_best = marks_best and high > low
    head = "".join(f'<th class="number">{escape(value_text(value))}</th>' for value in columns)
    body = "".join(
        f'<tr><th class="number">{escape(value_text(row))}</th>'
        + "".join(_cell(best.get((row, column)), low, high, marks_best) for column in columns)
        + "</tr>"
        for row in rows
    )
    corner = f"{escape(down)} \\ {escape(across)}" if down else escape(across)
    return f'<table class="heat"><tr><th class="corner">{corner}</th>{head}</tr>{body}</table>'


def _cell(value: float | None, low: float, high: float, marks_best: bool) -> str:
    if value is None:
        return '<td class="number soft"></td>'
    best = " best" if marks_best and value == high else ""
    return (
        f'<td class="number cell{best}" style="--n:{_share(value, low, high):.2f}">{value:.3f}</td>'
    )


def _render_circles(
    title: str, down: str, across: str, spots: Sequence[Spot], marks_best: bool
) -> str:
    low, high = min(spot.value for spot in spots), max(spot.value for spot in spots)
    xs = _places([float(spot.across) for spot in spots], LEFT, WIDTH - RIGHT)
    ys = _places([float(spot.down) for spot in spots], HEIGHT - BOTTOM, TOP)
    best = high if marks_best else math.inf
    drawn = [
        f"<g><title>{escape(spot.note)}: {spot.value:.3f}</title>"
        f'<circle class="spot{" best" if spot.value == best else ""}" cx="{x:.1f}" cy="{y:.1f}" '
        f'r="8" style="--n:{_share(spot.value, low, high):.2f}"/></g>'
        for spot, x, y in sorted(zip(spots, xs, ys, strict=True), key=lambda item: item[0].value)
    ]
    bottom, right = HEIGHT - BOTTOM + 14, WIDTH - RIGHT
    labels = [f'<path class="axis" d="M{LEFT - 14} {bottom}H{right + 14}"/>']
    for x, value in _ends(xs, [spot.across for spot in spots]):
        labels.append(f'<text class="mid" x="{x:.1f}" y="{bottom + 13}">{value_text(value)}</text>')
    for y, value in _ends(ys, [spot.down for spot in spots]):
        labels.append(
            f'<text class="end" x="{LEFT - 18}" y="{y + 4:.1f}">{value_text(value)}</text>'
        )
    labels.append(
        f'<text class="mid" x="{(LEFT + right) / 2}" y="{bottom + 13}">{escape(across)}</text>'
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    labels.append(f'<text class="end" x="{LEFT - 18}" y="{middle}">{escape(down)}</text>')
    label = escape(f"{title} over {down} and {across}", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(labels)}{''.join(drawn)}</svg>"
        f'<p class="soft small">from {low:.3f} to {high:.3f}'
        f"{'; the best is circled' if marks_best else ''}</p>"
    )


def _places(values: Sequence[float], start: float, end: float) -> list[float]:
    """Where values stand between two edges."""
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_RATIO:
        values, low, high = [math.log(value) for value in values], math.log(low), math.log(high)
    return [start + _share(value, low, high) * (end - start) for value in values]


def _ends(places: Sequence[float], values: Sequence[Any]) -> list[tuple[float, Any]]:
    """The lowest and the highest value with their places; one where they are the same."""
    pairs = sorted(zip(places, values, strict=True), key=lambda pair: float(pair[1]))
    return [pairs[0]] if pairs[0][1] == pairs[-1][1] else [pairs[0], pairs[-1]]


def _share(value: float, low: float, high: float) -> float:
    return 1.0 if high == low else (value - low) / (high - low)
