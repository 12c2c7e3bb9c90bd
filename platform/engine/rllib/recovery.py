"""Going on after a lost learner.

Env runners are RLlib's to bring back. A learner holds what was learned: when its process dies, the
whole algorithm is stopped and a fresh one goes on from the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from ray.exceptions import RayActorError

from parley.platform.cluster.remote_errors import explain_remote
from parley.platform.engine.rllib.restorable_algorithm import RestorableAlgorithm
from parley.platform.errors import ParleyError
from parley.platform.runs.announcements import ProcessRestarted, announce
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore
from parley.platform.terminal.progress import Progress

AnyResult = TypeVar("AnyResult")


class LearnerLostError(ParleyError):
    """A learner's process died, and with it the algorithm."""


class Attendable(Protocol):
    """A run with processes that may be lost."""

    @property
    def algorithm(self) -> RestorableAlgorithm:
        """Trains; knows which learners are lost."""

    def close(self) -> None:
        """Stop runners and learners."""


@contextmanager
def attended(run: Attendable) -> Iterator[None]:
    """Stop runners and learners in the end; name a lost learner as the cause of what it caused.

    Raises:
        LearnerLostError: whatever failed, failed because learners have died.
    """
    try:
        yield
    except Exception as error:
        num_lost = 0 if isinstance(error, ParleyError) else run.algorithm.num_lost_learners()
        if not num_lost:
            raise
        raise LearnerLostError(f"{num_lost} learner(s) lost: {explain_remote(error)}") from error
    finally:
        run.close()


def recover(
    attempt: Callable[[Checkpoint | None], AnyResult],
    checkpoint: Checkpoint | None,
    store: CheckpointStore,
    max_restarts: int,
    progress: Progress,
) -> AnyResult:
    """Train, and again from the last checkpoint whenever learners are lost.

    Args:
        attempt: trains from a checkpoint on, or from the beginning, under `attended`; leaves
            nothing running.
        checkpoint: where the first attempt begins.
        store: where the others do.
        max_restarts: how many others there may be.
        progress: says what happens.

    Raises:
        LearnerLostError: learners were lost once more than `max_restarts`.
    """
    for number in range(1, max_restarts + 2):
        try:
            return attempt(checkpoint)
        except (LearnerLostError, RayActorError) as error:
            told = str(error) if isinstance(error, ParleyError) else explain_remote(error)
            if number > max_restarts:
                raise LearnerLostError(
                    f"{told}; learners were lost {number} times (learner.max_restarts "
                    f"{max_restarts}); the last checkpoint stands, resume from it with --resume"
                ) from error
            announce(ProcessRestarted("learner", "all"))
            checkpoint = store.find("last")
            place = "the beginning" if checkpoint is None else checkpoint.path.name
            progress.say(f"{told}; going on from {place} ({number} of {max_restarts})")
    raise AssertionError("the last attempt returns or raises")
