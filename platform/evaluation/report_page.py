"""The page of a report: header, final figures, curves, settings; whatever the run was about.

Everything that comes from a run is escaped here or in the module that makes its section, and the
page forbids the browser to load or run anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from parley.platform.evaluation.report_charts import Chart, render_chart
from parley.platform.evaluation.report_curves import finite
from parley.platform.evaluation.report_style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing from the network and no script: the replies of a model stay text."""

INTERVAL_SUFFIX, START_SUFFIX = "_ci95", "_start"
UNFINISHED = "unfinished"
"""Status of a run without a result."""

NAMES = {
    "exact_match": ("Exact match", "executed traces, held out, trained sizes"),
    "illegal_rate": ("Illegal traces", "share with an illegal step"),
    "nats_over_optimal": ("Over the optimum", "nats per label"),
    "label_accuracy": ("Labels right", "true traces, read"),
    "first_error_position": ("First error", "tokens right before it, mean"),
    "first_error_position_median": ("First error, median", "tokens right before it"),
    "first_error_position_relative": ("First error, relative", "share of the trace before it"),
    "kl_per_state": ("KL per state", "nats, mean over states"),
    "kl_per_state_max": ("KL, worst state", "nats"),
    "belief_accuracy": ("Hidden states, belief", "share read off by a linear probe"),
    "optimal_filter_accuracy": ("Hidden states, optimal filter", "share"),
    "base_rate": ("Hidden states, most frequent", "share"),
    "competitor_nll": ("Competitor's NLL", "nats per token"),
    "kl": ("KL to the starting point", "nats per token"),
    "distinct_2": ("Distinct-2", "share of bigrams"),
    "reply_length": ("Reply length", "tokens"),
    "tokens_per_s": ("Speed", "tokens per second"),
    "steps_per_s": ("Speed", "environment steps per second"),
    "mean_return": ("Mean return", "greedy episodes"),
    "min_return": ("Least return", "greedy episodes"),
    "env_steps": ("Environment steps", ""),
    "cooperative_rate": ("Cooperative rate", "greedy, by the independent judge"),
    "cooperative_rate_reranked": ("Re-ranked", "cooperative rate, best of n"),
    "cooperative_rate_repaired": ("Re-ranked and repaired", "cooperative rate"),
    "cooperative_rate_human": ("Human responses", "cooperative rate"),
    "preference_accuracy": ("Preference accuracy", "implicit reward, held-out pairs"),
    "preference_accuracy_length_controlled": ("Length-controlled", "preference accuracy"),
    "chosen_perplexity_ratio": ("Perplexity of the chosen", "tuned over reference"),
    "eval_loss": ("Held-out loss", "nats"),
    "response_words": ("Response length", "words, greedy"),
    "looping_words": ("Loops", "share of runs of four words"),
    "repeated_responses": ("Repeated responses", "share, word for word"),
}
"""Figure -> how it is called, and its unit."""


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


def render_figures(metrics: Mapping[str, object]) -> str:
    """A tile for each number, with its interval and its value at the start where there are any."""
    tiles = [
        _tile(name, value, metrics)
        for name, given in metrics.items()
        if not name.endswith((INTERVAL_SUFFIX, START_SUFFIX))
        and (value := finite(given)) is not None
    ]
    tables = [
        f'<div class="card"><h3>{escape(_name(name)[0])}</h3>{render_table(given)}</div>'
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


def _tile(name: str, value: float, metrics: Mapping[str, object]) -> str:
    title, unit = _name(name)
    start = finite(metrics.get(name + START_SUFFIX))
    was = (
        "" if start is None else f'<span class="was">{_figure(start)} \N{RIGHTWARDS ARROW}</span> '
    )
    notes = [unit, _interval(metrics.get(name + INTERVAL_SUFFIX))]
    if start is not None:
        notes.insert(1, f"change {value - start:+.3g}")
    note = "".join(f'<div class="note">{escape(text)}</div>' for text in notes if text)
    return (
        f'<div class="tile"><div class="name">{escape(title)}</div>'
        f'<div class="value">{was}{_figure(value)}</div>{note}</div>'
    )


def _name(key: str) -> tuple[str, str]:
    return NAMES.get(key, (key.replace("_", " ").capitalize(), ""))


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


def _tables(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table by its dotted name, with the values that are no tables themselves."""
    plain = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    if plain:
        yield prefix, plain
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _tables(f"{prefix}.{name}" if prefix else name, value)
