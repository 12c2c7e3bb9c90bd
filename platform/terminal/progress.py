"""The progress of a run on the terminal: a live table and line, or plain lines where there is none.

What is shown is data: the columns of rows are given by the job, which alone knows what they mean,
and what is being done comes from those who do it (`telemetry.activities`).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Self, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from parley.platform.terminal.activities import (
    Activity,
    ActivityStack,
    activity,
    duration_text,
    is_heard,
    listening,
)

VISIBLE_ROWS = 8
"""Rows of the live table; older ones scroll out of it."""

REFRESHES_PER_S = 4
"""How often a terminal is drawn anew."""
PLAIN_INTERVAL_S = 5.0
"""Least time between two rows where the output is not a terminal."""
PLAIN_SHARE = 0.02
"""That time as a share of how long the run has lasted, up to the silence that is allowed."""
SILENCE_S = 30.0
"""Longest silence there, while anything is being done."""


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


class _LaidOut:
    """Something to draw that is laid out once for each width: a table takes milliseconds."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content
        self._width = 0
        self._segments: list[Segment] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._width != options.max_width:
            self._segments = list(console.render(self._content, options))
            self._width = options.max_width
        yield from self._segments


class Progress:
    """Shows the rows of one run and what is being done; a context manager: it leaves all in order.

    Args:
        columns: what to show of a row, in order.
        goal: where given, `time left` is estimated from the pace since the first row.
        stream: where to write; standard error by default, so that standard output stays data.
        interval_s: least time between two plain rows.
        silence_s: longest time without a plain line while anything is being done.
        clock: seconds that only grow; tests give their own.
        body: shown in place of the rows.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        goal: Goal | None = None,
        stream: TextIO | None = None,
        interval_s: float = PLAIN_INTERVAL_S,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
        body: Callable[[], RenderableType | None] | None = None,
    ) -> None:
        self._columns = list(columns)
        self._goal = goal
        self._console = Console(file=stream or sys.stderr)
        self._interval_s = interval_s
        self._silence_s = silence_s
        self._clock = clock
        self._body = body or self._table
        self._begun_s: float | None = None
        self._start: tuple[float, float] | None = None
        self._drawn: _LaidOut | None = None
        """The body as it stands."""
        self._rows: deque[list[str]] = deque(maxlen=VISIBLE_ROWS)
        self._unprinted: list[str] | None = None
        self._row_s = float("-inf")
        """When the last row was printed."""
        self._line_s = float("-inf")
        """And the last line of any kind."""
        self._stack = ActivityStack(clock)
        self._elsewhere: dict[str, Sequence[str]] = {}
        self._spinner = Spinner("dots")
        self._lock = threading.RLock()
        self._left = threading.Event()
        self._watch: threading.Thread | None = None
        self._live: Live | None = None
        self._listening: AbstractContextManager[None] | None = None

    def __enter__(self) -> Self:
        self._begun_s = self._line_s = self._clock()
        self._start = (self._begun_s, 0.0)
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=REFRESHES_PER_S,
                # What is printed goes through the console then: to a file, it goes by itself.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start(refresh=True)
        else:
            self._watch = threading.Thread(target=self._break_silence, daemon=True)
            self._watch.start()
        self._listening = listening(self)
        self._listening.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._listening is not None
        self._listening.__exit__(None, None, None)
        self._left.set()
        self._stack = ActivityStack(self._clock)
        self._elsewhere = {}
        if self._live is not None:
            self.refresh()
            self._live.stop()
            self._live = None
        if self._watch is not None:
            self._watch.join()
        if self._unprinted is not None:
            self._print_row(self._unprinted)

    @contextmanager
    def apart_from_stderr(self) -> Iterator[None]:
        """Show the live part by a descriptor of its own, while standard error is led elsewhere."""
        shown = self._console.file
        if self._live is None:
            yield
            return
        # Left to the garbage collector: the thread that refreshes may be writing to it still.
        self._console.file = os.fdopen(os.dup(shown.fileno()), "w", encoding="utf-8")
        try:
            yield
        finally:
            self._console.file.flush()
            self._console.file = shown

    @property
    def is_live(self) -> bool:
        """Whether it is drawn on a terminal."""
        return self._live is not None

    def update(self, row: Mapping[str, object]) -> None:
        """Show one row, keyed as the columns are."""
        cells = [column.text(row) for column in self._columns]
        if self._goal is not None:
            cells.append(self._time_left(row))
        with self._lock:
            self._rows.append(cells)
            if self._live is not None:
                self.refresh()
            elif self._clock() - self._row_s >= self._pause_s():
                self._print_row(cells)
            else:
                self._unprinted = cells

    @contextmanager
    def status(self, name: str) -> Iterator[Activity]:
        """Say what the run waits for, such as `starting Ray`, until the block ends."""
        if self._stack and self._live is None:
            self._write(f"{name} ...")
        with listening(self), activity(name) as waiting:
            yield waiting

    def say(self, text: str) -> None:
        """Print lines above the live table, or between the plain ones."""
        self._write(text)

    def tell(self, place: str, lines: Sequence[str]) -> None:
        """Show what is being done in another process, see `Teller`; none: nothing any more."""
        with self._lock:
            is_new = place not in self._elsewhere
            if not lines:
                self._elsewhere.pop(place, None)
                return
            self._elsewhere[place] = lines
            if is_new and self._live is None:
                self._write(lines[-1])
            self._speak_if_due()

    def resume_from(self, amount: float) -> None:
        """Count the pace from `amount` of the goal, which an earlier run has reached."""
        self._start = (self._clock(), amount)

    def begin(self, activity: Activity) -> None:
        """Take in an activity; a plain line names it, unless it is a part of another one."""
        with self._lock:
            is_part = bool(self._stack) or bool(self._elsewhere)
            self._stack.begin(activity)
            if self._live is not None:
                self._live.refresh()
            elif not is_part:
                self._write(f"{activity.name} ...")

    def advanced(self) -> None:
        """Take in that the innermost activity is further; what is drawn is drawn at its time."""
        if self._live is None and self._clock() - self._line_s >= self._silence_s:
            with self._lock:
                self._speak_if_due()

    def end(self) -> None:
        """Take in that the innermost activity has ended."""
        with self._lock:
            self._stack.end()

    def refresh(self) -> None:
        """Draw the body anew."""
        if self._live is not None:
            body = self._body()
            self._drawn = None if body is None else _LaidOut(body)
            self._live.refresh()

    def _break_silence(self) -> None:
        """In a thread of its own: speak also where one step takes longer than silence may."""
        while not self._left.wait(max(self._silence_s / 10, 0.1)):
            with self._lock:
                self._speak_if_due()

    def _speak_if_due(self) -> None:
        """Print what is being done, where there is no terminal and it was silent too long."""
        if self._live is not None or self._clock() - self._line_s < self._silence_s:
            return
        for line in self._lines():
            self._write(line)

    def _lines(self) -> list[str]:
        """What is being done, here and elsewhere."""
        return [*self._stack.lines(), *chain.from_iterable(list(self._elsewhere.values()))]

    def _pause_s(self) -> float:
        """Least time between two plain rows now."""
        started = self._clock() if self._begun_s is None else self._begun_s
        wanted = max(self._interval_s, PLAIN_SHARE * (self._clock() - started))
        return min(wanted, max(self._interval_s, self._silence_s))

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

    def _table(self) -> RenderableType | None:
        """The newest rows."""
        if not self._rows:
            return None
        table = Table(box=None, pad_edge=False)
        for title in self._titles():
            table.add_column(title, justify="right")
        for cells in list(self._rows):
            table.add_row(*cells)
        return table

    def _render(self) -> RenderableType:
        drawn, lines = self._drawn, self._lines()
        parts: list[RenderableType] = [] if drawn is None else [drawn]
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        if texts:
            self._spinner.update(text=texts.pop())
            parts += [*texts, self._spinner]
        return Group(*parts)

    def _print_row(self, cells: Sequence[str]) -> None:
        pairs = zip(self._titles(), cells, strict=True)
        self._write("  ".join(f"{title} {cell}" for title, cell in pairs))
        self._unprinted = None
        self._row_s = self._clock()

    def _write(self, line: str) -> None:
        self._line_s = self._clock()
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def shown(name: str) -> Iterator[Activity]:
    """Something that is built once: shown where other things are shown, else by itself.

    Its `report` takes what is being done, and which share of the whole is finished.
    """
    with ExitStack() as stack:
        if not is_heard():
            stack.enter_context(Progress(()))
        yield stack.enter_context(activity(name, 1.0))
