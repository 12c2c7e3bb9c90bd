"""A watched trace as a PNG, with the lines of the terminal."""

from __future__ import annotations

import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from parley.platform.trace.viewing.layout import Cell, Ink, heading, lay_out
from parley.platform.trace.viewing.view import TraceView

WIDTH = 110
"""Characters of a line."""
CHARACTER_INCHES, LINE_INCHES = 0.085, 0.19
FONT_SIZE = 9
INK_COLOURS: dict[Ink, str] = {
    "label": "#667078",
    "given": "#8a939b",
    "plain": "#1f2328",
    "different": "#b3372b",
    "illegal": "#ffffff",
    "strip": "#000000",
}
ILLEGAL_FILL = "#b3372b"


def draw_view(view: TraceView, path: Path) -> None:
    """Draw a trace into a PNG file, as high as it needs."""
    title = textwrap.wrap(heading(view), WIDTH)
    lines = [*([Cell(text, len(text))] for text in title), *lay_out(view, WIDTH)]
    widest = max(sum(cell.width for cell in line) for line in lines)
    size = ((widest + 2) * CHARACTER_INCHES, (len(lines) + 1) * LINE_INCHES)
    figure = Figure(figsize=size, dpi=130)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(-1, widest + 1)
    axes.set_ylim(len(lines) + 0.5, -0.5)
    axes.axis("off")
    for number, line in enumerate(lines):
        column = 0
        for cell in line:
            if cell.fill is not None or cell.ink == "illegal":
                # Matplotlib counts colours from 0 to 1.
                fill = ILLEGAL_FILL if cell.fill is None else tuple(c / 255 for c in cell.fill)
                box = Rectangle((column - 0.2, number), cell.width - 0.6, 0.92, color=fill)
                axes.add_patch(box)
            axes.text(
                column,
                number + 0.5,
                cell.text.replace("$", r"\$"),
                family="monospace",
                fontsize=FONT_SIZE,
                verticalalignment="center",
                color=INK_COLOURS[cell.ink],
            )
            column += cell.width
    figure.savefig(path)
