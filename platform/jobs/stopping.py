"""Stopping in order: Ctrl-C and SIGTERM end the run at the next iteration, after saving.

Whoever takes a machine away waits 30 seconds or so. An iteration that takes longer is given up
after a grace period, so that there is time left to save what was reached before it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self


class StopOverdue(KeyboardInterrupt):
    """A stop was asked for a grace period ago, and what was in progress has not ended since."""


class StopSignal:
    """While active, notes the first SIGINT or SIGTERM; a second one interrupts at once.

    Args:
        grace_s: how long what was in progress may go on; None: to its end.
    """

    def __init__(self, grace_s: float | None = None) -> None:
        self.received = False
        self.is_overdue = False
        """Whether the grace period has passed since."""
        self._grace_s = grace_s
        self._timer: threading.Timer | None = None
        self._waiting_for_tick = False
        self._interrupts = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within, the end of the grace period interrupts.

        Raises:
            StopOverdue: it has ended.
        """
        self._interrupts = True
        try:
            if self.is_overdue:
                raise StopOverdue
            yield
        finally:
            self._interrupts = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._waiting_for_tick and self.is_overdue:
            self._waiting_for_tick = False
            if self._interrupts:
                raise StopOverdue
            return
        if self.received:
            raise KeyboardInterrupt
        self.received = True
        if self._grace_s is not None:
            self._waiting_for_tick = True
            self._timer = threading.Timer(self._grace_s, self._tick)
            self._timer.daemon = True
            self._timer.start()

    def _tick(self) -> None:
        """The grace period is over: have the main thread look up, by a signal of our own."""
        self.is_overdue = True
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGTERM)
