"""Line charts as inline SVG: axes, ticks, a legend with the first and last value, a readout.

Colours are CSS classes of the page, so that a chart follows its light or dark theme. Pointing at a
place of a chart shows the values there, as the browser's tooltip.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 8, 32
"""Margins of the plot inside the picture, in its units; the left one grows with its labels."""
CHAR_WIDTH = 6.8
"""Of a digit of a label, at most; a label may be cut in no font that a browser takes."""
LABEL_HEIGHT = 13

NUM_TICKS = 5
MAX_POINTS = 400
"""Points of a drawn line; longer ones are thinned out."""
MAX_READOUTS = 150
"""Places with a tooltip."""
MARKED_POINTS = 40
"""Lines of fewer points have a dot on each."""
TICK_TOLERANCE = 1e-3
"""A value may lie outside the ticks by this part of their distance."""
NEGLIGIBLE = 1e-4
"""In the legend, values below this part of the line's largest are written as 0."""
NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One series; x ascends, all values are finite."""

    label: str
    points: list[Point]


@dataclass(frozen=True)
class Reference:
    """A horizontal line to compare with, such as a budget."""

    label: str
    value: float


@dataclass(frozen=True)
class Chart:
    """What is drawn into one pair of axes."""

    title: str
    unit: str
    """Of the values; empty: none."""
    x_label: str
    lines: list[Line]
    references: tuple[Reference, ...] = ()
    low: float | None = None
    """Where the vertical axis begins at the latest; None: at the lowest value."""
    high: float | None = None
    """Where it ends at the earliest."""
    band: tuple[float, float] | None = None
    """A stretch of the horizontal axis that is shaded."""


@dataclass(frozen=True)
class _Scale:
    """From values to places in the picture."""

    x_ticks: list[float]
    y_ticks: list[float]
    x_range: Point
    y_range: Point

    @property
    def left(self) -> float:
        """Where the plot begins, right of the longest label."""
        longest = max(map(len, self.y_labels))
        return max(LEFT, 8 + CHAR_WIDTH * longest)

    @property
    def y_labels(self) -> list[str]:
        """Of the ticks."""
        return tick_labels(self.y_ticks)

    def x(self, value: float) -> float:
        start, end = self.x_range
        return self.left + (value - start) / (end - start) * (WIDTH - self.left - RIGHT)

    def y(self, value: float) -> float:
        start, end = self.y_range
        return HEIGHT - BOTTOM - (value - start) / (end - start) * (HEIGHT - TOP - BOTTOM)


def render_chart(chart: Chart) -> str:
    """The chart as an HTML `figure`; its lines have at least one point together."""
    scale = _fit_scale(chart)
    drawn = [
        *_band(chart, scale),
        *_grid(chart, scale),
        *_references(chart, scale),
        *(
            part
            for index in reversed(range(len(chart.lines)))
            for part in _line(chart, index, scale)
        ),
        *_readouts(chart, scale),
    ]
    unit = f'<span class="unit">{escape(chart.unit)}</span>' if chart.unit else ""
    label = escape(f"{chart.title}, {chart.unit}", quote=True)
    return (
        f'<figure class="chart"><figcaption><b>{escape(chart.title)}</b>{unit}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(drawn)}</svg>"
        f'<ul class="legend">{"".join(_legend(chart))}</ul></figure>'
    )


def nice_ticks(low: float, high: float, num: int = NUM_TICKS) -> list[float]:
    """About `num` round numbers from `low` or a little below to `high` or a little above."""
    if high <= low:
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / num
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * power for nice in NICE_STEPS if nice * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + TICK_TOLERANCE)
    last = math.ceil(high / step - TICK_TOLERANCE)
    return [number * step for number in range(first, last + 1)]


def short_number(value: float, like: float | None = None) -> str:
    """At most three significant digits, and a letter for ten thousands and above.

    Args:
        value: the number.
        like: gets the letter that this number would get.
    """
    size = abs(value if like is None else like)
    for limit, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= limit and value:
            return f"{_digits(value / unit)}{letter}"
    return _digits(value)


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Labels that tell all ticks apart, with the letter of the largest."""
    size = max(map(abs, ticks))
    labels = [short_number(tick, size) for tick in ticks]
    if len(set(labels)) == len(ticks):
        return labels
    step = min(abs(b - a) for a, b in pairwise(ticks))
    digits = max(0, math.ceil(-math.log10(step)) + 1)
    return [f"{tick:.{digits}f}" for tick in ticks]


def thin_out(points: Sequence[Point], num: int) -> list[Point]:
    """Every k-th of at least one point, such that about `num` remain; the last one always does."""
    stride = -(-len(points) // num)
    kept = list(points[::stride])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _digits(value: float) -> str:
    if abs(value) < 1e5 and (abs(value) >= 100 or value == round(value)):
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return text if "e" in text or "." not in text else text.rstrip("0").rstrip(".")


def _fit_scale(chart: Chart) -> _Scale:
    points = [point for line in chart.lines for point in line.points]
    values = [y for _, y in points] + [reference.value for reference in chart.references]
    low = min([*values, *([] if chart.low is None else [chart.low])])
    high = max([*values, *([] if chart.high is None else [chart.high])])
    if low == high == chart.low:
        high = low + 1.0  # all values at an end of their range: nothing lies below it
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    whole = all(x == round(x) for x, _ in points)
    x_ticks = [
        tick
        for tick in nice_ticks(x_low, x_high)
        if x_low <= tick <= x_high and (tick == round(tick) or not whole)
    ]
    if x_high <= x_low:
        x_ticks, x_low, x_high = [x_low], x_low - 1, x_high + 1
    y_ticks = nice_ticks(low, high)
    return _Scale(x_ticks, y_ticks, (x_low, x_high), (y_ticks[0], y_ticks[-1]))


def _grid(chart: Chart, scale: _Scale) -> Iterator[str]:
    bottom, left, right = HEIGHT - BOTTOM, scale.left, WIDTH - RIGHT
    for tick, label in zip(scale.y_ticks, scale.y_labels, strict=True):
        y = scale.y(tick)
        kind = "axis" if tick == scale.y_ticks[0] else "grid"
        yield f'<path class="{kind}" d="M{left:.1f} {y:.1f}H{right}"/>'
        yield f'<text x="{left - 6:.1f}" y="{y + 3.5:.1f}" class="end">{label}</text>'
    for tick, label in zip(scale.x_ticks, tick_labels(scale.x_ticks), strict=True):
        x = scale.x(tick)
        yield f'<path class="axis" d="M{x:.1f} {bottom}v4"/>'
        anchor = "end" if x > right - 12 else "mid"
        at = right if anchor == "end" else x
        yield f'<text x="{at:.1f}" y="{bottom + 15}" class="{anchor}">{label}</text>'
    middle = (left + right) / 2
    yield f'<text x="{middle:.1f}" y="{HEIGHT - 4}" class="mid">{escape(chart.x_label)}</text>'


def _band(chart: Chart, scale: _Scale) -> Iterator[str]:
    if chart.band is None:
        return
    # What lies outside of the axes is cut off.
    ends = [min(max(place, scale.x_range[0]), scale.x_range[1]) for place in chart.band]
    start, end = (scale.x(place) for place in ends)
    yield (
        f'<rect class="band" x="{start - 3:.1f}" y="{TOP}" width="{end - start + 6:.1f}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/>'
    )


def _references(chart: Chart, scale: _Scale) -> Iterator[str]:
    """Levels with their names: above the line, or below where the picture or another name ends."""
    taken = float(TOP)
    for reference in sorted(chart.references, key=lambda reference: -reference.value):
        y = scale.y(reference.value)
        yield f'<path class="reference" d="M{scale.left:.1f} {y:.1f}H{WIDTH - RIGHT}"/>'
        base = y - 4 if y - 4 - LABEL_HEIGHT >= taken else y + LABEL_HEIGHT - 1
        base = max(base, taken + LABEL_HEIGHT - 1)
        taken = base + 2
        text = f"{reference.label} {short_number(reference.value)}"
        yield f'<text x="{scale.left + 4:.1f}" y="{base:.1f}" class="start">{escape(text)}</text>'


def _line(chart: Chart, index: int, scale: _Scale) -> Iterator[str]:
    points = thin_out(chart.lines[index].points, MAX_POINTS)
    places = [(scale.x(x), scale.y(y)) for x, y in points]
    if len(places) > 1:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        yield f'<path class="line s{index}" d="M{path}"/>'
    if len(places) <= MARKED_POINTS:
        for x, y in places:
            yield f'<circle class="dot s{index}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'


def _readouts(chart: Chart, scale: _Scale) -> Iterator[str]:
    """Invisible strips, each with the values at its place as a tooltip."""
    tables = [dict(line.points) for line in chart.lines]
    places = sorted({x for table in tables for x in table})
    shown = [x for x, _ in thin_out([(x, 0.0) for x in places], MAX_READOUTS)]
    inner = [(scale.x(a) + scale.x(b)) / 2 for a, b in pairwise(shown)]
    edges = [scale.left, *inner, float(WIDTH - RIGHT)]
    for place, (start, end) in zip(shown, pairwise(edges), strict=True):
        rows = [
            f"{line.label}: {table[place]:,.4g}"
            for line, table in zip(chart.lines, tables, strict=True)
            if place in table
        ]
        text = escape("\n".join([f"{chart.x_label} {place:,.10g}", *rows]))
        yield (
            f'<rect class="readout" x="{start:.1f}" y="{TOP}" width="{end - start:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"><title>{text}</title></rect>'
        )


def _legend(chart: Chart) -> Iterator[str]:
    for index, line in enumerate(chart.lines):
        largest = max(abs(y) for _, y in line.points)
        ends = [y for _, y in (*line.points[:1], *line.points[1:][-1:])]
        known = [y if abs(y) >= NEGLIGIBLE * largest else 0.0 for y in ends]
        value = " \N{RIGHTWARDS ARROW} ".join(map(short_number, known))
        yield f'<li><i class="key s{index}"></i>{escape(line.label)} <b>{value}</b></li>'
