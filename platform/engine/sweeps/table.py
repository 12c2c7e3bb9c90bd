"""The trials on the terminal: a live table by score, or a line for each trial that ends."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, TextIO

from rich.console import Console
from rich.table import Table

from parley.platform.engine.sweeps.record import TrialRecord, by_score
from parley.platform.settings.sweep import Value
from parley.platform.terminal.activities import duration_text
from parley.platform.terminal.progress import Progress

WIDTH = 80
LIVE_ROWS = 20
"""Trials in the live table; the final one shows all."""
FIGURES = {"cooperative_rate": "coop.", "preference_accuracy": "accuracy", "score": "score"}
"""Figures of a trial's best measure -> their headings; those that no trial has are left out."""
FIGURE_RANK = 1_000
"""Figures other than the score are left out before any setting is, where room is short."""
GAP = 2
"""Spaces between two columns."""


class SweepTable:
    """Shows the trials while they run; a context manager, so that the terminal is left in order.

    Args:
        num_trials: how many there will be.
        stream: where to write; standard error by default, so that standard output stays data.
    """

    def __init__(self, num_trials: int, stream: TextIO | None = None) -> None:
        self._num_trials = num_trials
        self._progress = Progress((), stream=stream, body=self._body)
        self._records: list[TrialRecord] = []
        self._reported: set[int] = set()

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._records = []  # the table that stays is the final one
        self._progress.__exit__(*exception)

    def known(self, records: Sequence[TrialRecord]) -> None:
        """Do not report these trials: an earlier process did."""
        self._reported |= {record.plan.number for record in records if record.is_finished}

    def update(self, records: Sequence[TrialRecord]) -> None:
        """Show how the trials stand."""
        self._records = [*records]
        if self._progress.is_live:
            self._progress.refresh()
            return
        ended = [record for record in records if record.is_finished]
        for record in ended:
            if record.plan.number not in self._reported:
                self._reported.add(record.plan.number)
                self.say(f"{len(ended)} of {self._num_trials}: {_line(record)}")

    def say(self, text: str) -> None:
        """Print a line above the live table, or between the plain ones."""
        self._progress.say(text)

    def tell(self, number: int, lines: Sequence[str]) -> None:
        """Show what the trial of this number is at, see `Teller`; none: nothing any more."""
        self._progress.tell(str(number), [f"trial {number}: {line}" for line in lines])

    def _body(self) -> Table | None:
        return trials_table(self._records, LIVE_ROWS) if self._records else None


def print_trials(records: Sequence[TrialRecord], stream: TextIO | None = None) -> None:
    """The final table, the best trial first, within 80 columns."""
    console = Console(file=stream or sys.stdout, width=WIDTH, highlight=False)
    console.print(trials_table(records))


def trials_table(records: Sequence[TrialRecord], most_rows: int | None = None) -> Table:
    """One row for each trial: its settings, its best measure, how it stands.

    What does not fit into `WIDTH` is left out, the least important first; `trials.json` has it all.
    """
    ranked = by_score(records)
    shown = ranked[:most_rows]
    columns = _make_columns(ranked, shown)
    if _width(columns) > WIDTH:
        columns = _fitting([replace(column, title=_fold(column.title)) for column in columns])
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=False)
    for column in columns:
        table.add_column(column.title, justify=column.justify, no_wrap=True, vertical="bottom")
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    if len(shown) < len(ranked):
        table.caption = f"and {len(ranked) - len(shown)} more"
        table.caption_justify = "left"
    return table


@dataclass(frozen=True)
class _Column:
    """A column of the table; its title may have several lines."""

    title: str
    cells: list[str]
    rank: int
    """The highest are left out first; 0 always stays."""
    justify: Literal["left", "right"] = "right"

    @property
    def width(self) -> int:
        """In characters."""
        return max(map(len, [*self.title.splitlines(), *self.cells]), default=0)


def _make_columns(ranked: list[TrialRecord], shown: list[TrialRecord]) -> list[_Column]:
    """All columns that there could be, from left to right."""
    figures = [
        name
        for name in FIGURES
        if name == "score" or any(name in (record.best_row or {}) for record in ranked)
    ]
    columns = [_Column("trial", [str(record.plan.number) for record in shown], 0)]
    keys = list(ranked[0].config) if ranked else []
    for place, title in enumerate(_titles(keys)):
        cells = [value_text(record.config[keys[place]]) for record in shown]
        columns.append(_Column(title, cells, 1 + place))
    for name in figures:
        rank = 0 if name == "score" else FIGURE_RANK
        columns.append(_Column(FIGURES[name], [_figure(one, name) for one in shown], rank))
    times = [duration_text(record.seconds) if record.rows else "-" for record in shown]
    columns.append(_Column("measure", [_measure(one) for one in shown], FIGURE_RANK + 1))
    columns.append(_Column("status", [one.status for one in shown], 0, "left"))
    columns.append(_Column("time", times, FIGURE_RANK + 2))
    return columns


def _fitting(columns: list[_Column]) -> list[_Column]:
    """As many of the columns as there is room for."""
    left = list(columns)
    while _width(left) > WIDTH:
        last = max(left, key=lambda column: column.rank)
        if last.rank == 0:
            break
        left.remove(last)
    return left


def _width(columns: Sequence[_Column]) -> int:
    """Of a line, in characters."""
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def _titles(keys: Sequence[str]) -> list[str]:
    """Settings by their last parts; with their section where two of these agree."""
    names = [key.rpartition(".")[2] for key in keys]
    return [key if names.count(name) > 1 else name for key, name in zip(keys, names, strict=True)]


def _fold(title: str) -> str:
    """A line for each word."""
    return re.sub(r"[._](?=\w)", "\n", title)


def value_text(value: Value) -> str:
    """A setting's value in few characters."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.3g}"


def describe_values(config: dict[str, Value]) -> str:
    """`beta 0.1, learning_rate 0.0001`."""
    return ", ".join(
        f"{key.rpartition('.')[2]} {value_text(value)}" for key, value in config.items()
    )


def _line(record: TrialRecord) -> str:
    row = record.best_row
    told = f"trial {record.plan.number} ({describe_values(record.config)}) {record.status}"
    if record.status == "failed":
        return f"{told}: {_first_line(record.error)}"
    score = "no measure" if row is None else f"score {row['score']:.3f}"
    return f"{told}: {score}, {duration_text(record.seconds)}"


def _first_line(error: str | None) -> str:
    return (error or "no error was noted").splitlines()[0]


def _figure(record: TrialRecord, name: str) -> str:
    value = (record.best_row or {}).get(name)
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _measure(record: TrialRecord) -> str:
    """Number of the best measure, of so many."""
    row = record.best_row
    return "-" if row is None else f"{row['evaluation']}/{record.rows[-1]['evaluation']}"
