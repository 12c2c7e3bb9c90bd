"""What happens in a run, told to whoever listens in the same process; Ray-free.

Those who make rows of metrics, checkpoints and restarts `announce` them and know nobody who reads
them; monitoring and trackers are `heard` for as long as a run lasts. What goes wrong there is said
once and never ends a run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RowAppended:
    """A row of metrics stands in `metrics.jsonl`."""

    run: Path
    """The run's folder."""
    row: Mapping[str, object]


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint is on the disk, whole."""

    seconds: float
    """That writing it took."""


@dataclass(frozen=True)
class ProcessRestarted:
    """A process died, or was ended, and another does its work."""

    kind: Literal["runner", "learner", "trial"]
    worker: str
    """Index of the runner, or the trial's name; `all` of learners, which are made anew together."""


Announcement = RowAppended | CheckpointSaved | ProcessRestarted
Listener = Callable[[Announcement], None]

_LISTENERS: list[Listener] = []


def announce(announcement: Announcement) -> None:
    """Tell all who listen; one that fails is named on stderr and not asked again."""
    for listener in tuple(_LISTENERS):
        try:
            listener(announcement)
        except Exception as error:
            _LISTENERS.remove(listener)
            name = getattr(listener, "__qualname__", type(listener).__name__)
            print(
                f"{name} failed and is left out from here on; the run goes on: "
                f"{type(error).__name__}: {error}",
                file=sys.stderr,
                flush=True,
            )


@contextmanager
def heard(*listeners: Listener) -> Iterator[None]:
    """Have `listeners` told of all that is announced inside the block."""
    _LISTENERS.extend(listeners)
    try:
        yield
    finally:
        for listener in listeners:
            if listener in _LISTENERS:
                _LISTENERS.remove(listener)
