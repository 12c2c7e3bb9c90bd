"""The progress of something built once: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_INTERVAL_S = 10.0
"""Least time between two lines where the output is not a terminal."""


class BuildingProgress:
    """Shows one long task; nothing is written before the first `update`.

    Args:
        title: what is built.
        stream: where to write; standard error by default.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self._title = title
        self._console = Console(file=stream or sys.stderr)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line_s = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self, activity: str, share_done: float) -> None:
        """Show what is being done, and which share of the whole is finished."""
        if self._console.is_terminal:
            self._draw(activity, share_done)
        elif share_done >= 1.0 or time.monotonic() - self._last_line_s >= PLAIN_INTERVAL_S:
            self.log(f"{self._title}: {activity} ({share_done:.0%})")
            self._last_line_s = time.monotonic()

    def log(self, line: str) -> None:
        """Say something beside the bar."""
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _draw(self, activity: str, share_done: float) -> None:
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn(self._title),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %  {task.description}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(activity, total=1.0)
        self._bar.update(self._task, description=activity, completed=share_done)
