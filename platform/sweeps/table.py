"""The trials on the terminal: a live table by score, or a line for each trial that ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from parley.platform.config.sweep import Value
from parley.platform.sweeps.record import TrialRecord, by_score
from parley.platform.telemetry.progress import duration_text

WIDTH = 80
LIVE_ROWS = 20
"""Trials in the live table; the final one shows all."""
FIGURES = {"cooperative_rate": "coop.", "preference_accuracy": "accuracy", "score": "score"}
"""Figures of a trial's best measure -> their headings; those that no trial has are left out."""


class SweepTable:
    """Shows the trials while they run; a context manager, so that the terminal is left in order.

    Args:
        num_trials: how many there will be.
        stream: where to write; standard error by default, so that standard output stays data.
    """

    def __init__(self, num_trials: int, stream: TextIO | None = None) -> None:
        self._num_trials = num_trials
        self._console = Console(file=stream or sys.stderr)
        self._live: Live | None = None
        self._reported: set[int] = set()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.update("")
            self._live.stop()
            self._live = None

    def known(self, records: Sequence[TrialRecord]) -> None:
        """Do not report these trials: an earlier process did."""
        self._reported |= {record.plan.number for record in records if record.is_finished}

    def update(self, records: Sequence[TrialRecord]) -> None:
        """Show how the trials stand."""
        if self._live is not None:
            self._live.update(trials_table(records, LIVE_ROWS))
            return
        ended = [record for record in records if record.is_finished]
        for record in ended:
            if record.plan.number not in self._reported:
                self._reported.add(record.plan.number)
                self.say(f"{len(ended)} of {self._num_trials}: {_line(record)}")

    def say(self, text: str) -> None:
        """Print a line above the live table, or between the plain ones."""
        console = self._console if self._live is None else self._live.console
        console.print(text, soft_wrap=True, markup=False, highlight=False)


def print_trials(records: Sequence[TrialRecord], stream: TextIO | None = None) -> None:
    """The final table, the best trial first, within 80 columns."""
    console = Console(file=stream or sys.stdout, width=WIDTH, highlight=False)
    console.print(trials_table(records))


def trials_table(records: Sequence[TrialRecord], most_rows: int | None = None) -> Table:
    """One row for each trial: its settings, its best measure, how it stands."""
    ranked = by_score(records)
    keys = list(ranked[0].config) if ranked else []
    figures = [
        name
        for name in FIGURES
        if name == "score" or any(name in (record.best_row or {}) for record in ranked)
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("trial", justify="right", no_wrap=True)
    for key in keys:
        table.add_column(key.rpartition(".")[2], justify="right", no_wrap=True)
    for name in figures:
        table.add_column(FIGURES[name], justify="right", no_wrap=True)
    for title in ("measure", "status", "time"):
        table.add_column(title, justify="left" if title == "status" else "right", no_wrap=True)
    for record in ranked[:most_rows]:
        values = [value_text(record.config[key]) for key in keys]
        table.add_row(
            str(record.plan.number),
            *values,
            *(_figure(record, name) for name in figures),
            _measure(record),
            record.status,
            duration_text(record.seconds) if record.rows else "-",
        )
    if most_rows is not None and len(ranked) > most_rows:
        table.add_row("", f"and {len(ranked) - most_rows} more")
    return table


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
