"""What a report shows of a trace run: figures by size, a source's states, a trace to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, cast

from parley.envs.trace.markov import Markov
from parley.envs.trace.source import FIRST_SYMBOL
from parley.platform.records import Metrics
from parley.platform.report.charts import Chart, Line
from parley.platform.report.curves import finite
from parley.platform.report.figures import INTERVAL_SUFFIX
from parley.platform.report.heat_maps import Spot, render_heat_map
from parley.platform.report.page import (
    render_charts,
    render_section,
)
from parley.platform.report.sections import Rows, Sections, final_figures, policy_facts
from parley.platform.runs.run_folder import RunFolder
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.viewing.page import render_view
from parley.platform.trace.viewing.view import VIEW_FILE, read_view

LENGTH, STATE = "_by_length", "_by_state"
COLUMNS = {
    "exact_match": "exact match",
    "illegal_rate": "with an illegal step",
    "nats_over_optimal": "nats over the optimum",
    "label_accuracy": "labels right",
    "first_error_position": "right before the first error",
    "belief_accuracy": "hidden states read off the belief",
    "optimal_filter_accuracy": "by the optimal filter",
    "inputs": "inputs",
}
"""Figure by length -> head of its column."""
CURVES = {
    "exact_match": "Exact match by size",
    "nats_over_optimal": "Nats over the optimal predictor by size",
    "label_accuracy": "Labels right by size",
}


def report_sections(run: RunFolder, rows: Rows, result: Mapping[str, Any]) -> Sections:
    """What the report of a trace run shows; see `report.sections`."""
    config, metrics = cast("TraceConfig", run.config), final_figures(result)
    return Sections(
        overall_figures(metrics),
        all_figures=metrics,
        facts={**policy_facts(run), "language": config.language.name},
        after_figures=render_trace_sections(config, metrics, run.path),
    )


def overall_figures(metrics: Mapping[str, Any]) -> Metrics:
    """The figures without those by length or state, which have sections of their own."""
    return {
        name: value
        for name, value in metrics.items()
        if not name.removesuffix(INTERVAL_SUFFIX).endswith((LENGTH, STATE))
    }


def render_trace_sections(
    config: TraceConfig, metrics: Mapping[str, Any], folder: Path
) -> Iterator[str]:
    """The sections of a trace run, as far as there is anything to show.

    Args:
        config: of the run.
        metrics: final figures; empty before there are any.
        folder: of the run.
    """
    by_length = {
        name: values
        for name in COLUMNS
        if isinstance(values := metrics.get(f"{name}{LENGTH}"), Mapping) and values
    }
    if by_length:
        charts = [*_make_charts(by_length, config)]
        body = render_charts(charts) if charts else ""
        yield render_section("By size of the input", body + _render_table(by_length, metrics))
    if isinstance(by_state := metrics.get(f"kl{STATE}"), Mapping) and by_state:
        spots = [
            Spot("KL", state, value, state)
            for state, given in by_state.items()
            if (value := finite(given)) is not None
        ]
        title = "KL of the next-state distribution from the true chain's, nats"
        maps = [
            render_heat_map(title, "", "state", spots, marks_best=False),
            *_make_chains(config, metrics),
        ]
        yield render_section("States of the chain", "".join(maps))
    view = read_view(folder / VIEW_FILE)
    if view is not None:
        yield render_section("A held-out trace", render_view(view))


def _render_map(title: str, down: str, spots: Sequence[Spot]) -> str:
    """A map of what is no score: no cell is the best one."""
    return render_heat_map(title, down, "next" if down else "state", spots, marks_best=False)


def _make_chains(config: TraceConfig, metrics: Mapping[str, Any]) -> Iterator[str]:
    """What the model expects after each state, and the true chain below it."""
    learned, language = metrics.get(f"next_state{STATE}"), config.language.build()
    if not isinstance(learned, Mapping) or not isinstance(language, Markov):
        return
    states = language.alphabet[FIRST_SYMBOL:]
    spots = [
        Spot(state, after, value, f"{state} {after}")
        for state, row in learned.items()
        for after, given in row.items()
        if (value := finite(given)) is not None
    ]
    yield render_heat_map(
        "Next state, as the model expects it", "state", "next", spots, marks_best=False
    )
    chain = language.transition_matrix().tolist()
    spots = [
        Spot(state, after, value, f"{state} {after}")
        for state, row in zip(states, chain, strict=True)
        for after, value in zip(states, row, strict=True)
        if state in learned
    ]
    yield _render_map("Next state, the true chain", "state", spots)


def _make_charts(
    by_length: Mapping[str, Mapping[str, Any]], config: TraceConfig
) -> Iterator[Chart]:
    """A curve for each figure that is known at more than one size."""
    sizes = config.language.sizes
    for name, title in CURVES.items():
        values = by_length.get(name, {}).items()
        points = sorted(
            (float(size), value) for size, g in values if (value := finite(g)) is not None
        )
        if len(points) > 1:
            is_share = name != "nats_over_optimal"
            yield Chart(
                title,
                "share" if is_share else "nats per label",
                "size; shaded: trained",
                [Line("held out", points)],
                low=0.0,
                high=1.0 if is_share else None,
                band=(float(sizes[0]), float(sizes[-1])),
            )


def _render_table(by_length: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Any]) -> str:
    """A row for each size, intervals behind the figures."""
    sizes = sorted({size for values in by_length.values() for size in values}, key=float)
    head = "".join(f'<th class="number">{escape(COLUMNS[name])}</th>' for name in by_length)
    rows = "".join(
        f'<tr><td class="number">{escape(size)}</td>'
        + "".join(
            _render_cell(
                values.get(size),
                (metrics.get(f"{name}{LENGTH}{INTERVAL_SUFFIX}") or {}).get(size),
            )
            for name, values in by_length.items()
        )
        + "</tr>"
        for size in sizes
    )
    return (
        f'<div class="card scroll"><table><tr><th class="number">size</th>{head}</tr>'
        f"{rows}</table></div>"
    )


def _render_cell(value: object, interval: Sequence[object] | None) -> str:
    number = finite(value)
    if number is None:
        return '<td class="number soft">\N{EM DASH}</td>'
    ends = [end for given in interval or () if (end := finite(given)) is not None]
    note = ""
    if len(ends) == 2:
        note = f'<div class="soft small">{ends[0]:.3g} to {ends[1]:.3g}</div>'
    return f'<td class="number">{number:,.4g}{note}</td>'
