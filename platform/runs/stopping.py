"""Stopping in order: Ctrl-C and SIGTERM end the run at the next iteration, after saving.

Whoever takes a machine away waits 30 seconds or so. An iteration that takes longer is given up
after a grace period, so that there is time left to save what was reached before it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Self

Interrupting = Callable[[], AbstractContextManager[None]]
"""Makes the block in which what is in progress may be given up."""


class StopOverdue(KeyboardInterrupt):
    """A stop was asked for a grace period ago, and what was in progress has not ended since."""


TICK = signal.SIGURG
"""By which the main thread is told to look up; a process without a handler ignores it."""
TICK_S = 0.5
"""Time between two interruptions: one that strikes in a destructor is lost."""


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
        self._clock: threading.Thread | None = None
        self._left = threading.Event()
        self._interrupts = False
        self._is_immediate = False
        self._is_hurried = False
        """Whether there was a second signal."""
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        self._previous[TICK] = signal.signal(TICK, self._look_up)
        return self

    def __exit__(self, *exception: object) -> None:
        self._left.set()
        if self._clock is not None:
            self._clock.join()
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
        except KeyboardInterrupt as interrupt:
            # Ray raises one of its own where a signal's handler raised one while it waited.
            if self.is_overdue and not self._is_hurried:
                raise StopOverdue from interrupt
            raise
        finally:
            self._interrupts = False

    @contextmanager
    def sparing(self) -> Iterator[None]:
        """Within, and inside of `interrupting`, nothing is interrupted: what is saved is whole."""
        interrupts, self._interrupts = self._interrupts, False
        try:
            yield
        finally:
            self._interrupts = interrupts

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, a signal interrupts at once: there is nothing that could be saved.

        Raises:
            KeyboardInterrupt: there was one, or is one.
        """
        if self.received:
            raise KeyboardInterrupt
        self._is_immediate = True
        try:
            yield
        finally:
            self._is_immediate = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received or self._is_immediate:
            self._is_hurried = True
            raise KeyboardInterrupt
        self.received = True
        if self._grace_s is not None:
            self._clock = threading.Thread(target=self._tick, args=(self._grace_s,), daemon=True)
            self._clock.start()

    def _look_up(self, number: int, frame: FrameType | None) -> None:
        if self._interrupts:
            raise StopOverdue

    def _tick(self, grace_s: float) -> None:
        """After the grace period, have the main thread look up by signals of our own."""
        main = threading.main_thread().ident
        assert main is not None
        self._left.wait(grace_s)
        while not self._left.is_set():
            self.is_overdue = True
            signal.pthread_kill(main, TICK)
            self._left.wait(TICK_S)
