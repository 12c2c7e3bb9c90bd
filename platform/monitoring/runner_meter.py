"""What an env runner shows of itself: its pace, and the age of the weights with which it played.

The driver stamps weights when it takes them from the learners. The age at the runner is the time
from there to the end of the play: the staleness of what the learner gets. It compares clocks of two
machines, so it is as exact as these are set.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from parley.platform.monitoring.measures import (
    RUNNER_ENV_STEPS,
    RUNNER_TOKENS,
    WEIGHTS_AGE_SECONDS,
    WEIGHTS_UPDATE,
)
from parley.platform.monitoring.series import count, show

WEIGHTS_STAMP = "weights_stamp"
"""Where the stamp lies in the state that runners are sent."""


@dataclass(frozen=True)
class WeightsStamp:
    """Whose weights these are, and how old."""

    run: str
    policy: str
    update: int
    """Number of the weights."""
    taken_at_s: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class WatchedRun:
    """The tags of the run that this process drives."""

    run: str
    policy: str


_WATCHED: list[WatchedRun] = []


@contextmanager
def runners_watched(run: WatchedRun) -> Iterator[None]:
    """Inside the block, weights that this process gives away bear the stamp of `run`."""
    _WATCHED.append(run)
    try:
        yield
    finally:
        _WATCHED.remove(run)


def stamp_weights(update: int) -> WeightsStamp | None:
    """A stamp of now for the weights with this number; None where no run is watched."""
    if not _WATCHED:
        return None
    return WeightsStamp(_WATCHED[-1].run, _WATCHED[-1].policy, update, time.time())


class RunnerMeter:
    """Shows one runner; without a stamp on its weights it shows nothing.

    Args:
        worker: the runner's index.
    """

    def __init__(self, worker: int) -> None:
        self._worker = str(worker)
        self._stamp: WeightsStamp | None = None

    def receive(self, stamp: WeightsStamp | None) -> None:
        """Weights have come."""
        self._stamp = stamp

    def played(self, num_env_steps: int, num_tokens: int = 0) -> None:
        """Show what was played with the newest weights."""
        stamp = self._stamp
        if stamp is None:
            return
        tags = {"run": stamp.run, "policy": stamp.policy, "worker": self._worker}
        show(WEIGHTS_AGE_SECONDS, time.time() - stamp.taken_at_s, tags)
        show(WEIGHTS_UPDATE, stamp.update, tags)
        count(RUNNER_ENV_STEPS, num_env_steps, tags)
        count(RUNNER_TOKENS, num_tokens, tags)
