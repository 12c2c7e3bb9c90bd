"""The page of a report: header, final figures, curves, settings; whatever the run was about.

Everything that comes from a run is escaped here or in the module that makes its section, and the
page forbids the browser to load or run anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from parley.platform.report.charts import Chart, render_chart
from parley.platform.report.curves import finite
from parley.platform.report.figures import (
    INTERVAL_SUFFIX,
    count_text,
    find_figure,
    shown_names,
)
from parley.platform.report.style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing from the network and no script: the replies of a model stay text."""

START_SUFFIX = "_start"
UNFINISHED = "unfinished"
"""Status of a run without a result."""


def render_page(title: str, parts: Sequence[str]) -> str:
    """The whole file.

    Args:
        title: plain text.
        parts: HTML of the sections.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{chr(10).join(parts)}\n</main></body></html>\n"
    )


def render_section(title: str, body: str) -> str:
    """A section under its heading; `body` is HTML."""
    return f"<section><h2>{escape(title)}</h2>\n{body}\n</section>"


def render_header(title: str, status: str, facts: Mapping[str, str], error: str) -> str:
    """The run's name, how it ended, and a line of facts; the error of a failed run below."""
    cells = "".join(
        f"<span>{escape(name)} <b>{escape(value)}</b></span>" for name, value in facts.items()
    )
    fault = f'<p class="error">{escape(error)}</p>' if error else ""
    return (
        f"<header><h1>{escape(title)}</h1>"
        f'<p class="facts"><span class="status {escape(status)}">{escape(status)}</span>{cells}</p>'
        f"{fault}</header>"
    )


def render_charts(charts: Sequence[Chart]) -> str:
    """All charts in a grid."""
    return f'<div class="charts">\n{chr(10).join(render_chart(chart) for chart in charts)}\n</div>'


def render_figures(
    metrics: Mapping[str, object], counts: Mapping[str, object] | None = None
) -> str:
    """A tile for each number, with its interval and its value at the start where there are any.

    Args:
        metrics: what is shown.
        counts: figures that say how many things others are of; None: `metrics` holds them.
    """
    tiles = [
        _tile(name, value, metrics, metrics if counts is None else counts)
        for name in shown_names(metrics)
        if not (name.endswith(START_SUFFIX) and name.removesuffix(START_SUFFIX) in metrics)
        and (value := finite(metrics[name])) is not None
    ]
    tables = [
        f'<div class="card"><h3>{escape(find_figure(name).title)}</h3>{render_table(given)}</div>'
        for name, given in metrics.items()
        if isinstance(given, Mapping) and given
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>' + (
        f'<div class="sections">{"".join(tables)}</div>' if tables else ""
    )


def render_settings(settings: Mapping[str, Any]) -> str:
    """The settings, a card for each table."""
    cards = "".join(
        f'<div class="card"><h3>{escape(name or "general")}</h3>{render_table(values)}</div>'
        for name, values in _tables("", settings)
    )
    body = f'<div class="sections">{cards}</div>'
    return f"<details><summary>Show all settings</summary>{body}</details>"


def render_table(values: Mapping[str, object]) -> str:
    """Two columns: name and value."""
    rows = (
        f'<tr><td>{escape(str(name))}</td><td class="setting">{escape(_text(value))}</td></tr>'
        for name, value in values.items()
    )
    return f'<table class="names">{"".join(rows)}</table>'


def _tile(
    name: str, value: float, metrics: Mapping[str, object], counts: Mapping[str, object]
) -> str:
    figure = find_figure(name)
    start = finite(metrics.get(name + START_SUFFIX))
    was = (
        "" if start is None else f'<span class="was">{_figure(start)} \N{RIGHTWARDS ARROW}</span> '
    )
    interval, of = _interval(metrics.get(name + INTERVAL_SUFFIX)), count_text(name, counts)
    notes = [figure.unit, f"{interval}, {of}" if interval and of else interval]
    if start is not None:
        notes.insert(1, f"change {value - start:+.3g}")
    note = "".join(f'<div class="note">{escape(text)}</div>' for text in notes if text)
    return (
        f'<div class="tile" title="{escape(figure.meaning, quote=True)}">'
        f'<div class="name">{escape(figure.title)}</div>'
        f'<div class="value">{was}{_figure(value)}</div>{note}</div>'
    )


def _interval(value: object) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return ""
    ends = [finite(end) for end in value]
    known = [_figure(end) for end in ends if end is not None]
    return f"95 % interval {known[0]} to {known[1]}" if len(known) == 2 else ""


def _figure(value: float) -> str:
    """Three significant digits, final zeros among them; all digits of a whole number."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def _text(value: object) -> str:
    number = finite(value)
    if number is not None:
        return f"{number:.10g}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(item) for item in value)
    return "\N{EM DASH}" if value in (None, "") else str(value)


def _tables(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, object]]]:
    """Every table by its dotted name, with the values that are no tables themselves."""
    plain = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    if plain:
        yield prefix, plain
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _tables(f"{prefix}.{name}" if prefix else name, value)
