"""A comparison as one HTML file, and as the table that JSON holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from parley.platform.errors import display_path
from parley.platform.records import Facts
from parley.platform.report.comparison import ComparedRun, Comparison, Difference, Figure
from parley.platform.report.page import render_charts, render_page, render_section
from parley.platform.terminal.activities import duration_text

MAX_DRAWN_RUNS = 5
"""Lines that the style sheet of reports has colours for."""

Cells = Sequence[str]


def render_comparison(comparison: Comparison) -> str:
    """The page as HTML; at most `MAX_DRAWN_RUNS` runs."""
    parts = ["<header><h1>Runs compared</h1></header>"]
    parts.append(render_section("Runs", _table([*run_rows(comparison)])))
    if comparison.notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
        parts.append(render_section("Notes", f"<ul>{items}</ul>"))
    for title, rows in (
        ("Settings that differ", setting_rows(comparison)),
        ("Figures", figure_rows(comparison)),
    ):
        table = [*rows]
        parts.append(render_section(title, _table(table) if len(table) > 1 else "<p>none</p>"))
    if comparison.charts:
        parts.append(render_section("Learning curves", render_charts(comparison.charts)))
    return render_page("Runs compared", parts)


def to_table(comparison: Comparison) -> Facts:
    """What `--json` writes; its form is told in docs/tasks/comparing.md."""
    return {
        "runs": [_run_table(run) for run in comparison.runs],
        "notes": comparison.notes,
        "settings": comparison.settings,
        "figures": {
            name: {
                "values": [None if figure is None else figure.value for figure in figures],
                "ci95": [None if figure is None else figure.interval for figure in figures],
                "differences": [_difference_table(d) for d in comparison.differences(name)],
            }
            for name, figures in comparison.figures.items()
        },
        "curves": {
            chart.title: {
                "x": chart.x_label,
                "unit": chart.unit,
                "lines": {line.label: line.points for line in chart.lines},
            }
            for chart in comparison.charts
        },
    }


def run_rows(comparison: Comparison) -> Iterator[Cells]:
    """A head, and a row for each run."""
    yield "", "run", "experiment", "status", "iterations", "took"
    for run in comparison.runs:
        took = "" if run.seconds is None else duration_text(run.seconds)
        cells = (display_path(run.path), run.experiment, run.status, f"{run.num_iterations:,}")
        yield run.letter, *cells, took


def setting_rows(comparison: Comparison) -> Iterator[Cells]:
    """A head, and a row for each setting that differs."""
    yield "setting", *(run.letter for run in comparison.runs)
    for key, values in comparison.settings.items():
        yield key, *("-" if value is None else str(value) for value in values)


def figure_rows(comparison: Comparison) -> Iterator[Cells]:
    """A head, and a row for each figure: the runs', and their differences from the first."""
    first, *others = comparison.runs
    differences = [f"{run.letter} - {first.letter}" for run in others]
    yield "figure", *(run.letter for run in comparison.runs), *differences
    for name, figures in comparison.figures.items():
        changes = comparison.differences(name)[1:]
        yield name, *map(_figure_text, figures), *map(_difference_text, changes)


def _figure_text(figure: Figure | None) -> str:
    return "-" if figure is None else _number(figure.value) + _interval_text(figure.interval)


def _difference_text(difference: Difference | None) -> str:
    if difference is None:
        return "-"
    sign = "+" if difference.value > 0 else ""
    text = f"{sign}{_number(difference.value)}{_interval_text(difference.interval)}"
    if difference.is_beyond is None:
        return text
    if not difference.is_beyond:
        return f"{text} within the intervals"
    return f"{text} {'higher' if difference.value > 0 else 'lower'}, beyond the intervals"


def _interval_text(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({_number(interval[0])} to {_number(interval[1])})"


def _number(value: float) -> str:
    is_whole = value == round(value) or abs(value) >= 1e4
    return f"{value:,.0f}" if is_whole else f"{value:,.4g}"


def _run_table(run: ComparedRun) -> Facts:
    return {
        "run": str(run.path),
        "letter": run.letter,
        "experiment": run.experiment,
        "workflow": run.workflow,
        "status": run.status,
        "iterations": run.num_iterations,
        "seconds": run.seconds,
    }


def _difference_table(difference: Difference | None) -> Facts | None:
    if difference is None:
        return None
    return {
        "difference": difference.value,
        "ci95": difference.interval,
        "beyond_intervals": difference.is_beyond,
    }


def _table(rows: Sequence[Cells]) -> str:
    """A table; the first row is its head."""
    lines = []
    for index, row in enumerate(rows):
        kind = "td" if index else "th"
        cells = "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f'<div class="card"><table>{"".join(lines)}</table></div>'
