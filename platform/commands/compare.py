"""`parley compare`: runs side by side, as text, JSON and one HTML file."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from parley.platform.commands.tables import print_rows
from parley.platform.errors import EXIT_DONE, InputError, display_path
from parley.platform.runs.files import atomic_write_text, to_json

COMPARISON = "parley.platform.report.comparison"
PAGE = "parley.platform.report.comparison_page"
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 40


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare the runs at `arguments.paths`; write where asked, and print.

    Raises:
        InputError: runs that cannot be compared, or a folder that is not there.
    """
    out, json_file = arguments.out, arguments.json
    for flag, file in (("--json", json_file), ("--out", out)):
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{flag} {file}: there is no folder {file.parent}; make it first")
    page = import_module(PAGE)
    if out is not None and len(arguments.paths) > page.MAX_DRAWN_RUNS:
        raise InputError(f"--out draws {page.MAX_DRAWN_RUNS} runs at most; name fewer of them")
    comparison = import_module(COMPARISON).compare(arguments.paths)
    if json_file is not None:
        atomic_write_text(json_file, to_json(page.to_table(comparison), indent=2) + "\n")
    if out is not None:
        atomic_write_text(out, page.render_comparison(comparison))
    _print_comparison(comparison, page)
    _say_written(out)
    return EXIT_DONE


def _print_comparison(comparison: Any, page: Any) -> None:
    _print_table("runs", page.run_rows(comparison))
    for note in comparison.notes:
        print(f"note: {note}")
    _print_table("settings that differ", page.setting_rows(comparison))
    _print_table("figures", page.figure_rows(comparison))
    for chart in comparison.charts:
        _print_curves(chart)


def _print_table(title: str, rows: Iterable[Sequence[str]]) -> None:
    head, *body = (tuple(row) for row in rows)
    print(f"\n{title}" if body else f"\n{title}: none")
    if body:
        print_rows([head, *body], indent="  ")


def _print_curves(chart: Any) -> None:
    """The lines of a chart as rows of blocks, on one scale."""
    unit = f", {chart.unit}" if chart.unit else ""
    print(f"\n{chart.title}{unit}, over {chart.x_label}, on one scale")
    places = [x for line in chart.lines for x, _ in line.points]
    values = [y for line in chart.lines for _, y in line.points]
    x_range, y_range = (min(places), max(places)), (min(values), max(values))
    rows = []
    for line in chart.lines:
        ends = f"{line.points[0][1]:.4g} → {line.points[-1][1]:.4g}"
        rows.append((line.label, _draw(line.points, x_range, y_range), ends))
    print_rows(rows, indent="  ")


def _draw(
    points: Sequence[tuple[float, float]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> str:
    """A line of blocks, each the latest value up to its place; blank before the first one."""
    width_x, height = x_range[1] - x_range[0], y_range[1] - y_range[0]
    drawn = [" "] * SPARK_WIDTH
    for index in range(SPARK_WIDTH):
        place = x_range[0] + width_x * (index + 1) / SPARK_WIDTH
        before = [y for x, y in points if x <= place * (1 + 1e-9)]
        if before and points[-1][0] >= x_range[0] + width_x * index / SPARK_WIDTH:
            share = (before[-1] - y_range[0]) / height if height else 0.5
            drawn[index] = SPARKS[min(len(SPARKS) - 1, int(share * len(SPARKS)))]
    return "".join(drawn)


def _say_written(out: Path | None) -> None:
    if out is not None:
        print(f"\ncomparison: {display_path(out)}")
