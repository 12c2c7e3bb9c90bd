"""What is being done and how far it is, told to whoever shows it; knows no terminal and no Ray.

Trainers, scorers and builders say what they are at:

    with activity("scoring the pairs", len(pairs), "pairs") as scoring:
        for batch in batches:
            ...
            scoring.advance(len(batch))

They know nobody who shows it: `telemetry.progress` does on a terminal or in a log, a `Teller` in
another process. Where nobody listens, a step costs an addition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

Item = TypeVar("Item")
GAP = "  "
"""Between the parts of a line."""


@dataclass(eq=False)
class Activity:
    """Something that takes time, and how far it is; made by `activity`."""

    name: str
    total: float = 0.0
    """Where it ends; 0: nobody knows."""
    unit: str = ""
    """What is counted: steps, pairs; empty: shares of the whole, where `total` is 1."""
    done: float = 0.0
    """How far it is. What it begins with was done by an earlier process, and counts in no pace."""
    pace_unit: str = ""
    """What the throughput counts, where that is not `unit`."""
    handled: float = 0.0
    """How many of these, here."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The newest of the things that it measures, such as a loss."""
    note: str = ""
    """What of it is being done."""
    listener: Listener | None = None

    def advance(self, amount: float = 1.0, handled: float = 0.0, **figures: float) -> None:
        """Say that so much more is done, how much was `handled` for it, and what was measured."""
        self.done += amount
        self.handled += handled
        if figures:
            self.figures = figures
        if self.listener is not None:
            self.listener.advanced()

    def report(self, note: str, share_done: float) -> None:
        """Say what is being done, and which share of the whole is finished."""
        self.note = note
        self.advance(share_done * self.total - self.done)

    def say(self, line: str) -> None:
        """Say something next to the count."""
        if self.listener is not None:
            self.listener.say(line)


class Listener(Protocol):
    """Who is told of activities, in the thread in which they are."""

    def begin(self, activity: Activity) -> None:
        """It begins, inside of those that have not ended."""

    def advanced(self) -> None:
        """The innermost is further than before; asked at each step: quick, as a rule."""

    def end(self) -> None:
        """The innermost has ended."""

    def say(self, text: str) -> None:
        """Lines for people to read."""


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)
"""By thread: what other threads do in the background is nobody's progress."""


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` told of the activities inside the block, in place of whoever was."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def is_heard() -> bool:
    """Whether anybody is told of the activities of this thread."""
    return _LISTENER.get() is not None


@contextmanager
def activity(
    name: str, total: float = 0.0, unit: str = "", done: float = 0.0, pace_unit: str = ""
) -> Iterator[Activity]:
    """Tell what the block does; see `Activity`."""
    listener = _LISTENER.get()
    begun = Activity(name, total, unit, done, pace_unit, listener=listener)
    if listener is not None:
        listener.begin(begun)
    try:
        yield begun
    finally:
        if listener is not None:
            listener.end()


def each(items: Sequence[Item], name: str, unit: str) -> Iterator[Item]:
    """The items one by one, each told as done when the next one is asked for."""
    with activity(name, len(items), unit) as going:
        for item in items:
            yield item
            going.advance()


@dataclass
class _Open:
    """An activity that has not ended."""

    activity: Activity
    begun_s: float
    first: float
    """How far it was."""
    away_s: float = 0.0
    """Time that activities inside of it took."""


class ActivityStack:
    """The activities that have not ended, each inside of the one before, as lines of text.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: list[_Open] = []

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, begun: Activity) -> None:
        """Put one inside of those that are open."""
        self._open.append(_Open(begun, self._clock(), begun.done))

    def end(self) -> None:
        """Take the innermost off."""
        ended = self._open.pop()
        if self._open:
            self._open[-1].away_s += self._clock() - ended.begun_s

    def lines(self) -> list[str]:
        """One for each, the outermost first."""
        now_s, opened = self._clock(), list(self._open)
        until_s = [*(inner.begun_s for inner in opened[1:]), now_s]
        return [_line(each, now_s, until_s[place]) for place, each in enumerate(opened)]


def _line(opened: _Open, now_s: float, until_s: float) -> str:
    """`training  12 of 300 steps  loss 0.532  212 pairs/s  1m05s left`.

    Throughput is by the time until `until_s`, when another activity began inside of this one, and
    without those before; the time left is by all of the time.
    """
    told = opened.activity
    parts = [told.name, told.note]
    if not told.total:
        return GAP.join(part for part in (*parts, duration_text(now_s - opened.begun_s)) if part)
    if told.unit:
        parts.append(f"{told.done:,.0f} of {told.total:,.0f} {told.unit}")
    else:
        parts.append(f"{told.done / told.total:.0%}")
    parts += [f"{name} {value:.4g}" for name, value in told.figures.items()]
    gained = told.done - opened.first
    busy_s = until_s - opened.begun_s - opened.away_s
    if gained > 0 and busy_s > 0:
        if told.unit:
            handled = told.handled if told.pace_unit else gained
            parts.append(f"{_rate_text(handled / busy_s)} {told.pace_unit or told.unit}/s")
        left_s = max(0.0, told.total - told.done) / gained * (now_s - opened.begun_s)
        parts.append(f"{duration_text(left_s)} left")
    return GAP.join(part for part in parts if part)


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def duration_text(seconds: float) -> str:
    """`42s`, `3m05s` or `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Teller:
    """A listener that hands the lines on, to another process say; at a bounded pace.

    Args:
        tell: takes the lines; called in the thread of the activities.
        interval_s: least time between two calls while nothing begins.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        tell: Callable[[list[str]], None],
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._interval_s = interval_s
        self._clock = clock
        self._stack = ActivityStack(clock)
        self._told_s = float("-inf")

    def begin(self, activity: Activity) -> None:
        """See `Listener`."""
        self._stack.begin(activity)
        self.advanced()

    def advanced(self) -> None:
        """See `Listener`."""
        now_s = self._clock()
        if now_s - self._told_s >= self._interval_s:
            self._told_s = now_s
            self._tell(self._stack.lines())

    def end(self) -> None:
        """See `Listener`."""
        self._stack.end()

    def say(self, text: str) -> None:
        """Nobody reads here."""
