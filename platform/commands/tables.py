"""Figures and lists as text for standard output."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from parley.platform.report.figures import (
    INTERVAL_SUFFIX,
    count_text,
    find_figure,
    shown_names,
)

GROUPED = "_by_"
"""A figure of this name is a table: `exact_match_by_length` by length."""
MAX_WIDTH = 100
"""Columns of a table, in characters, before another one begins below."""

Group = Mapping[object, object]


def print_metrics(metrics: Mapping[str, object]) -> None:
    """One line for each figure, its interval and what it is of behind it; tables below.

    Tables of tables are left to JSON and to the report.
    """
    groups = dict(_find_groups(metrics))
    names = _list_names(metrics, groups)
    intervals = {name: _interval(name, metrics) for name in names}
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
    for unit in dict.fromkeys(_split(name)[1] for name in groups):
        of_unit = {name: group for name, group in groups.items() if _split(name)[1] == unit}
        _print_groups(unit, of_unit, metrics)


def print_meanings(metrics: Mapping[str, object]) -> None:
    """Below the figures of `print_metrics`: each of them that is known, in plain words."""
    groups = dict(_find_groups(metrics))
    names = [*_list_names(metrics, groups), *(_split(name)[0] for name in groups)]
    known = [(name, m) for name in dict.fromkeys(names) if (m := find_figure(name).meaning)]
    if not known:
        return
    width = max(len(name) for name, _ in known)
    print("\nwhat these are")
    for name, meaning in known:
        text = textwrap.wrap(meaning, max(40, MAX_WIDTH - width - 4))
        print(f"  {name:<{width}}  " + f"\n{'':{width + 4}}".join(text))


def _list_names(metrics: Mapping[str, object], groups: Mapping[str, Group]) -> list[str]:
    """The figures that have a line of their own."""
    return [
        name for name in shown_names(metrics) if not (name in groups or _is_matrix(metrics[name]))
    ]


def print_rows(rows: Sequence[tuple[str, ...]], indent: str = "") -> None:
    """Columns padded to their widest cell, without a frame, so that they can be cut and grepped."""
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print((indent + "  ".join(cells)).rstrip())


def _find_groups(metrics: Mapping[str, object]) -> Iterator[tuple[str, Group]]:
    """The figures that are printed as tables: those with intervals, and what is grouped alike."""
    units = {
        _split(name)[1]
        for name in metrics
        if GROUPED in name and isinstance(metrics.get(name + INTERVAL_SUFFIX), Mapping)
    }
    for name, value in metrics.items():
        is_interval = name.endswith(INTERVAL_SUFFIX)
        if is_interval or not isinstance(value, Mapping) or not value or _is_matrix(value):
            continue
        if _split(name)[1] in units:
            yield name, value


def _print_groups(unit: str, groups: Mapping[str, Group], metrics: Mapping[str, object]) -> None:
    """Tables of a column for each figure, as many side by side as there is room for."""
    keys = list(dict.fromkeys(key for group in groups.values() for key in group))
    head = [unit, *map(str, keys)]
    table, width = [head], max(map(len, head))
    for name, group in groups.items():
        column = [_split(name)[0], *_cells(group, metrics.get(name + INTERVAL_SUFFIX), keys)]
        column_width = 2 + max(map(len, column))
        if len(table) > 1 and width + column_width > MAX_WIDTH:
            _print_columns(table)
            table, width = [head], max(map(len, head))
        table.append(column)
        width += column_width
    _print_columns(table)


def _print_columns(columns: Sequence[Sequence[str]]) -> None:
    print()
    print_rows(list(zip(*columns, strict=True)))


def _cells(group: Group, intervals: object, keys: Sequence[object]) -> Iterator[str]:
    """A figure for each key, its interval behind it."""
    figures = [_figure(group[key]) if key in group else "" for key in keys]
    width = max(map(len, figures))
    for key, figure in zip(keys, figures, strict=True):
        ends = _ends(intervals.get(key)) if isinstance(intervals, Mapping) else None
        yield figure if ends is None else f"{figure:<{width}}  {ends}"


def _split(name: str) -> tuple[str, str]:
    """The figure and what it is grouped by; empty: it is no table."""
    figure, _, unit = name.partition(GROUPED)
    return figure, unit


def _is_matrix(value: object) -> bool:
    """Whether it is a table of tables."""
    return isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values())


def _figure(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_figure(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_figure, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _interval(name: str, metrics: Mapping[str, object]) -> str:
    """A figure's interval, and how many things both are of."""
    ends = _ends(metrics.get(name + INTERVAL_SUFFIX))
    if ends is None:
        return ""
    of = count_text(name, metrics)
    return f"95 % interval {ends}" + (f", {of}" if of else "")


def _ends(value: object) -> str | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    return f"{_figure(value[0])} to {_figure(value[1])}"
