"""What passes between a driver and workers that train: what they are at, and the wish to stop."""

from __future__ import annotations

LOOK_INTERVAL_S = 0.25
"""Least time between two looks at whether to stop, and between two words on what is being done."""


class WorkerChannel:
    """The state of an actor between a driver and its workers; async, so that callers may wait."""

    def __init__(self) -> None:
        self._stop = False
        self._lines: dict[str, list[str]] = {}

    async def tell(self, worker: str, lines: list[str]) -> None:
        """Say what a worker is at, see `Teller`."""
        self._lines[worker] = lines

    async def told(self) -> dict[str, list[str]]:
        """What workers are at, as they said last."""
        return self._lines

    async def request_stop(self) -> None:
        """Ask the workers to hand over what they have, and end."""
        self._stop = True

    async def stop_requested(self) -> bool:
        """Whether the workers should end."""
        return self._stop
