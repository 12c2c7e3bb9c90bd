"""The progress of a run on the terminal: one live table, or plain lines where there is none.

What is shown is data: the columns are given by the job, which alone knows what its rows mean.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

VISIBLE_ROWS = 8
"""Rows of the live table; older ones scroll out of it."""

PLAIN_INTERVAL_S = 5.0
"""Least time between two lines where the output is not a terminal."""
PLAIN_SHARE = 0.02
"""That time as a share of how long the run has lasted: the log of a day stays a few pages."""


@dataclass(frozen=True)
class Column:
    """One figure of a row: its key, its heading and how it is written."""

    key: str
    title: str
    form: str = ",.0f"
    """Format specification of a number, such as `,.0f` or `.3f`."""

    def text(self, row: Mapping[str, object]) -> str:
        """The figure of `row` as text; a dash where it is absent or not a number."""
        value = row.get(self.key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            return str(value) if isinstance(value, str) else "-"
        return format(float(value), self.form)


@dataclass(frozen=True)
class Goal:
    """The figure that measures how far a run is, and its value at the end."""

    key: str
    amount: float


class Progress:
    """Shows the rows of one run; a context manager, so that the terminal is left in order.

    Args:
        columns: what to show of a row, in order.
        goal: where given, `time left` is estimated from the pace since the first row.
        stream: where to write; standard error by default, so that standard output stays data.
        interval_s: least time between two plain lines.
        clock: seconds that only grow; tests give their own.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        goal: Goal | None = None,
        stream: TextIO | None = None,
        interval_s: float = PLAIN_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._columns = list(columns)
        self._goal = goal
        self._console = Console(file=stream or sys.stderr)
        self._interval_s = interval_s
        self._clock = clock
        self._begun_s: float | None = None
        self._start: tuple[float, float] | None = None
        self._rows: deque[list[str]] = deque(maxlen=VISIBLE_ROWS)
        self._status = ""
        self._unprinted: list[str] | None = None
        self._last_print_s = float("-inf")
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._begun_s = self._clock()
        self._start = (self._begun_s, 0.0)
        if self._console.is_terminal:
            self._live = Live(self._render(), console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._status = ""
        if self._live is not None:
            self._live.update(self._render())
            self._live.stop()
            self._live = None
        elif self._unprinted is not None:
            self._print_line(self._unprinted)

    def update(self, row: Mapping[str, object]) -> None:
        """Show one row, keyed as the columns are."""
        cells = [column.text(row) for column in self._columns]
        if self._goal is not None:
            cells.append(self._time_left(row))
        self._rows.append(cells)
        if self._live is not None:
            self._live.update(self._render())
        elif self._clock() - self._last_print_s >= self._pause_s():
            self._print_line(cells)
        else:
            self._unprinted = cells

    @contextmanager
    def status(self, activity: str) -> Iterator[None]:
        """Say what the run waits for, such as `starting Ray`, until the block ends."""
        before, self._status = self._status, activity
        if self._live is not None:
            self._live.update(self._render())
        else:
            self._write(f"{activity} ...")
        try:
            yield
        finally:
            self._status = before
            if self._live is not None:
                self._live.update(self._render())

    def say(self, text: str) -> None:
        """Print lines above the live table, or between the plain ones."""
        console = self._console if self._live is None else self._live.console
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    def resume_from(self, amount: float) -> None:
        """Count the pace from `amount` of the goal, which an earlier run has reached."""
        self._start = (self._clock(), amount)

    def _pause_s(self) -> float:
        """Least time between two plain lines now."""
        started = self._clock() if self._begun_s is None else self._begun_s
        return max(self._interval_s, PLAIN_SHARE * (self._clock() - started))

    def _titles(self) -> list[str]:
        titles = [column.title for column in self._columns]
        return [*titles, "time left"] if self._goal is not None else titles

    def _time_left(self, row: Mapping[str, object]) -> str:
        assert self._goal is not None
        reached = row.get(self._goal.key)
        if self._start is None or not isinstance(reached, int | float):
            return "-"
        start_s, start_amount = self._start
        gained = reached - start_amount
        if gained <= 0:
            return "-"
        remaining = max(0.0, self._goal.amount - reached)
        return duration_text(remaining / gained * (self._clock() - start_s))

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for title in self._titles():
            table.add_column(title, justify="right")
        for cells in self._rows:
            table.add_row(*cells)
        parts: list[RenderableType] = [table] if self._rows else []
        if self._status:
            parts.append(Spinner("dots", text=self._status))
        return Group(*parts)

    def _print_line(self, cells: Sequence[str]) -> None:
        pairs = zip(self._titles(), cells, strict=True)
        self._write("  ".join(f"{title} {cell}" for title, cell in pairs))
        self._unprinted = None
        self._last_print_s = self._clock()

    def _write(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


def duration_text(seconds: float) -> str:
    """`42s`, `3m05s` or `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
