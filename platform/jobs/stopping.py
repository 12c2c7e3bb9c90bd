"""Stopping in order: Ctrl-C and SIGTERM end the run at the next iteration, after saving."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self


class StopSignal:
    """While active, notes the first SIGINT or SIGTERM; a second one interrupts at once."""

    def __init__(self) -> None:
        self.received = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True
