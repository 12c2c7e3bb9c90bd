"""The lines of learning curves, drawn into PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def finish_axes(axes: Axes) -> None:
    """Add a grid, and a legend where it covers no line, if there is anything to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")
    axes.grid(alpha=0.3)


def draw_series(
    axes: object,
    rows: Sequence[Mapping[str, object]],
    key: str,
    label: str,
    color: str,
    style: str,
    over: str = "env_steps",
) -> None:
    """Add the line of a key of the rows, where it has values, over another key."""
    points = [(row[over], row[key]) for row in rows if row.get(key) is not None]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, style, color=color, label=label, markersize=4)  # type: ignore[attr-defined]
