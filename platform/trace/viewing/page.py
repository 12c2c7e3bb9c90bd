"""A watched trace as HTML: a column for each token, its beliefs below, all of it under the pointer.

The browser wraps the columns; a strip's colour is the state's hue, the paler the less probable.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from parley.platform.report.page import render_page, render_section
from parley.platform.trace.viewing.layout import heading
from parley.platform.trace.viewing.view import Strip, TraceView


def render_view_page(view: TraceView) -> str:
    """A page of its own."""
    title = f"{view.language}, size {view.size}"
    return render_page(title, [render_section(title, render_view(view))])


def render_view(view: TraceView) -> str:
    """The trace as a card; its classes are those of `report.style`."""
    before = view.states[view.illegal_at - 1] if view.illegal_at else ""
    state = f'<p class="soft small">real state before it: {escape(before)}</p>' if before else ""
    columns = "".join(_column(view, place) for place in range(view.num_places))
    return (
        f'<div class="card"><p class="{"verdict" if view.is_exact else "verdict bad"}">'
        f"{escape(heading(view))}</p>{state}{_key(view)}"
        f'<div class="trace">{columns}</div></div>'
    )


def _column(view: TraceView, place: int) -> str:
    """A token, the true one below it, and a cell for each strip."""
    wrote = view.written[place] if place < len(view.written) else ""
    true = view.true[place] if place < len(view.true) else ""
    kind = "given" if place < view.num_given and not view.is_source else ""
    if place == view.illegal_at:
        kind = "illegal"
    elif view.differs(place):
        kind = "different"
    below = "" if view.is_source else f"<i>{escape(true) or '&nbsp;'}</i>"
    cells = "".join(_cell(strip, view.num_states, place) for strip in view.strips)
    note = escape("\n".join(_note(view, place, wrote, true)), quote=True)
    name = escape(wrote) or "&nbsp;"
    return f'<span class="token {kind}" title="{note}"><b>{name}</b>{below}{cells}</span>'


def _cell(strip: Strip, num_states: int, place: int) -> str:
    if place >= len(strip.states) or strip.states[place] < 0:
        return "<u></u>"
    hue = round(360 * strip.states[place] / num_states)
    return f'<u style="--h:{hue};--p:{strip.shares[place]:.2f}">{strip.states[place]}</u>'


def _note(view: TraceView, place: int, wrote: str, true: str) -> Iterator[str]:
    """What pointing at a column shows."""
    yield f"token {place}: {wrote or '(nothing)'}"
    if view.differs(place):
        yield f"true: {true or '(nothing)'}"
    if place < len(view.states) and view.states[place]:
        yield f"real state: {view.states[place]}"
    for strip in view.strips:
        if place < len(strip.states) and strip.states[place] >= 0:
            yield f"{strip.name}: state {strip.states[place]}, {strip.shares[place]:.2f}"


def _key(view: TraceView) -> str:
    """Which line is what."""
    first = ["read"] if view.is_source else ["written", "true"]
    lines = ", ".join([*first, *(strip.name for strip in view.strips)])
    if not view.strips:
        lines += "; this model has no belief filter"
    return (
        f'<p class="soft small">From top to bottom: {escape(lines)}. Point at a token for more.</p>'
    )
