"""A watched trace as lines of cells: tokens above, beliefs below them, wrapped to a width.

Terminal and picture draw the same lines. A strip's cell holds the likeliest state; its colour's hue
stands for the state and its brightness for the probability.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rich.text import Text

from parley.platform.trace.viewing.view import Strip, TraceView

Ink = Literal["label", "given", "plain", "different", "illegal", "strip"]
Colour = tuple[int, int, int]

INK_STYLES: dict[Ink, str] = {
    "label": "dim",
    "given": "dim",
    "plain": "",
    "different": "bold red",
    "illegal": "bold white on red",
    "strip": "black",
}
DOUBTFUL = 0.5
"""Below this probability a state is followed by a question mark, for those without colours."""


@dataclass(frozen=True)
class Cell:
    """A text of a fixed width."""

    text: str
    width: int
    ink: Ink = "plain"
    fill: Colour | None = None


Line = list[Cell]


def lay_out(view: TraceView, width: int) -> list[Line]:
    """The lines of a trace, at most `width` characters wide where the names allow it."""
    labels = ["read" if view.is_source else "written", "true", *(s.name for s in view.strips)]
    label_width = max(map(len, labels)) + 1
    widths = [_width(view, place) for place in range(view.num_places)]
    lines: list[Line] = []
    start = 0
    while start < view.num_places:
        end, used = start + 1, label_width + widths[start]
        while end < view.num_places and used + widths[end] <= width:
            used += widths[end]
            end += 1
        lines += _block(view, range(start, end), widths, label_width)
        start = end
    return lines


def heading(view: TraceView) -> str:
    """What is shown, in a line."""
    return f"{view.language}, size {view.size}: {view.verdict}"


def format_view(view: TraceView, width: int) -> Text:
    """All of it, coloured; `.plain` is readable without the colours."""
    text = Text(heading(view), style="bold" if view.is_exact else "bold red")
    if view.illegal_at is not None and (before := view.states[view.illegal_at - 1]):
        text.append(f"\nreal state before it: {before}", style="red")
    for line in lay_out(view, width):
        text.append("\n")
        for cell in line:
            style = INK_STYLES[cell.ink]
            if cell.fill is not None:
                style = f"{style} on #{bytes(cell.fill).hex()}"
            padding = cell.width - len(cell.text)
            text.append(cell.text, style=style)
            text.append(" " * padding)
    text.append("\n\n")
    text.append_text(_legend(view))
    return text


def plain_view(view: TraceView, width: int) -> str:
    """`format_view` without colours and without spaces at the ends of lines."""
    return "\n".join(line.rstrip() for line in format_view(view, width).plain.split("\n"))


def state_colour(state: int, num_states: int, share: float) -> Colour:
    """Red, green and blue from 0 to 255: the state's hue, the darker the less probable it is."""
    red, green, blue = colorsys.hsv_to_rgb(state / num_states, 0.6, 0.25 + 0.75 * share)
    return round(255 * red), round(255 * green), round(255 * blue)


def _width(view: TraceView, place: int) -> int:
    """Characters of a place's column, the space behind it included."""
    names = [*view.written[place : place + 1], *view.true[place : place + 1]]
    return max(3, *map(len, names)) + 1


def _block(view: TraceView, places: range, widths: list[int], label_width: int) -> Iterator[Line]:
    """The lines of consecutive places, an empty one above them."""

    def line(label: str, cells: Iterator[Cell]) -> Line:
        return [Cell(label, label_width, "label"), *cells]

    yield []
    yield line("read" if view.is_source else "written", _written(view, places, widths))
    if not view.is_source:
        yield line("true", _true(view, places, widths))
        if any(view.differs(place) for place in places):
            yield line("", _marks(view, places, widths))
    for strip in view.strips:
        yield line(strip.name, _strip_cells(strip, view.num_states, places, widths))


def _written(view: TraceView, places: range, widths: list[int]) -> Iterator[Cell]:
    for place in places:
        ink: Ink = "given" if place < view.num_given and not view.is_source else "plain"
        if place == view.illegal_at:
            ink = "illegal"
        elif view.differs(place):
            ink = "different"
        name = view.written[place] if place < len(view.written) else ""
        yield Cell(name, widths[place], ink)


def _true(view: TraceView, places: range, widths: list[int]) -> Iterator[Cell]:
    for place in places:
        name = view.true[place] if place < len(view.true) else ""
        yield Cell(name, widths[place], "given" if place < view.num_given else "plain")


def _marks(view: TraceView, places: range, widths: list[int]) -> Iterator[Cell]:
    """Signs for those without colours: ^ where the tokens differ, ! where execution stopped."""
    for place in places:
        sign = "!" if place == view.illegal_at else "^" if view.differs(place) else ""
        yield Cell(sign, widths[place], "different")


def _strip_cells(strip: Strip, num_states: int, places: range, widths: list[int]) -> Iterator[Cell]:
    for place in places:
        if place >= len(strip.states) or strip.states[place] < 0:
            yield Cell("", widths[place])
            continue
        state, share = strip.states[place], strip.shares[place]
        sign = "?" if share < DOUBTFUL else ""
        # The colour fills the column but for the space behind it.
        text = f"{state}{sign}".ljust(widths[place] - 1)
        fill = state_colour(state, num_states, share)
        yield Cell(text, widths[place], "strip", fill)


def _legend(view: TraceView) -> Text:
    if not view.strips:
        return Text("this model has no belief filter", style="dim")
    text = Text("likeliest latent state ", style="dim")
    for state in range(view.num_states):
        fill = state_colour(state, view.num_states, 1.0)
        text.append(f" {state} ", style=f"black on #{bytes(fill).hex()}")
    text.append(" darker: less probable, ?: below one half", style="dim")
    return text
