"""What passes between the driver of a next-token training and its workers.

One `TrainingChannel` actor stands between them: snapshots and what is being done go up, the wish to
stop comes down. It also holds the newest snapshot, from which Ray Train's retries go on after a
lost worker.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from parley.platform.engine.worker_channel import WorkerChannel
from parley.platform.errors import ParleyError
from parley.platform.records import Row, State

MAX_WAITING = 2
"""Snapshots that wait for the driver before the workers do."""


@dataclass(frozen=True)
class Snapshot:
    """Everything about a training between two gradient steps."""

    step: int
    """Gradient steps so far."""
    weights: dict[str, NDArray[Any]]
    """State dict of the language model."""
    optimiser: State | None = None
    """See `NextTokenLearner.optimiser_state`; None before the first step."""
    loss_sum: float = 0.0
    """Sum of the training losses since the last row of metrics."""
    num_losses: int = 0
    """How many they are."""
    num_tokens: int = 0
    """Tokens read so far, padding left out."""
    ramp_start: int | None = None
    """Gradient steps after which the mutation noise began to rise; None: it has not."""
    seconds: float = 0.0
    """Time spent in gradient steps and held-out losses."""
    row: Row | None = None
    """Figures for `metrics.jsonl`, where this step has any."""
    device: str = "cpu"
    """Where the gradients were computed."""


class TrainingChannel(WorkerChannel):
    """The state of the actor, with the snapshots.

    Args:
        newest: where training begins.
    """

    def __init__(self, newest: Snapshot) -> None:
        super().__init__()
        self._newest = newest
        self._waiting: asyncio.Queue[Snapshot | ParleyError] = asyncio.Queue(MAX_WAITING)

    async def post(self, message: Snapshot | ParleyError) -> None:
        """Hand over a snapshot, or why training cannot go on; waits while the driver is behind."""
        if isinstance(message, Snapshot):
            self._newest = message
        await self._waiting.put(message)

    async def take(self, timeout_s: float) -> Snapshot | ParleyError | None:
        """The oldest message that waits, or None after `timeout_s`."""
        try:
            return await asyncio.wait_for(self._waiting.get(), timeout_s)
        except TimeoutError:
            return None

    async def newest(self) -> Snapshot:
        """Where a worker that starts has to go on."""
        return self._newest
