"""Figures and lists as text for standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

INTERVAL_SUFFIX = "_ci95"
"""A rate's 95 % interval stands beside it under its name with this suffix."""


def print_metrics(metrics: Mapping[str, object]) -> None:
    """One line for each figure, an interval behind the rate it belongs to."""
    names = [name for name in metrics if not name.endswith(INTERVAL_SUFFIX)]
    intervals = {name: _interval(metrics.get(name + INTERVAL_SUFFIX)) for name in names}
    figures = {name: _figure(metrics[name]) for name in names}
    # Only what has an interval behind it is padded: a table of figures would push it far away.
    width = max((len(figures[name]) for name in names if intervals[name]), default=0)
    print_rows(
        [
            (
                name,
                f"{figures[name]:<{width}}  {intervals[name]}"
                if intervals[name]
                else figures[name],
            )
            for name in names
        ]
    )


def print_rows(rows: Sequence[tuple[str, ...]], indent: str = "") -> None:
    """Columns padded to their widest cell, without a frame, so that they can be cut and grepped."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print((indent + "  ".join(cells)).rstrip())


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_figure(inner)}" for key, inner in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _interval(value: object) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return ""
    return f"95 % interval {_figure(value[0])} to {_figure(value[1])}"
