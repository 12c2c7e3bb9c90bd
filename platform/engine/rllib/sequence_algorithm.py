"""Policy gradients on numbered pieces of work: what comes back does not depend on who did it.

An iteration is a list of numbers (of dialogues, of groups of traces). They are divided among the
runners that are up, and what a dead runner leaves undone goes to the others. Runners keep nothing
between requests, so a checkpoint holds the learners' state and counters alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from parley.platform.engine.rllib.gradient_algorithm import GradientAlgorithm
from parley.platform.engine.rllib.gradient_learner import ITERATION
from parley.platform.engine.rllib.runner_requests import Patience, RunnerError, SamplingError
from parley.platform.engine.rllib.sequence_batch import make_share
from parley.platform.records import Settings, State

AnyDelivery = TypeVar("AnyDelivery", bound="Delivery")
Shares = Mapping[int, Sequence[int]]
"""Worker index -> the numbers of its pieces of work."""


class Delivery(Protocol):
    """What one runner brings back."""

    worker_index: int
    error: str
    """The traceback of an error that a fresh runner would meet again."""

    @property
    def numbers(self) -> Collection[int]:
        """The pieces of work that are done."""

    def raise_fault(self) -> None:
        """Raise what ends the run, if anything does."""


class SequenceAlgorithm(GradientAlgorithm):
    """Its runners do numbered work, and its learners take padded rows."""

    work_name = "pieces of work"
    """What the numbers count, in messages."""

    def setup(self, config: Any) -> None:
        """Start runners and learners."""
        super().setup(config)
        self.iterations_done = 0

    def gather(
        self, method: str, numbers: Iterable[int], arguments: Callable[[Shares], Settings]
    ) -> list[AnyDelivery]:
        """Have the runners do their shares, all of them, whatever happens to a runner meanwhile.

        Args:
            method: of the runners.
            numbers: what is to be done.
            arguments: gives the method's arguments for the shares of what is still missing.

        Returns:
            What the runners brought, in the order of the runners.

        Raises:
            RunnerError: a runner failed at its work.
            SamplingError: work is missing, and nothing was delivered any more; see `Patience`.
        """
        missing, deliveries = set(numbers), list[AnyDelivery]()
        timeout_s = self.config.sample_timeout_s
        patience = Patience(timeout_s)
        while missing:
            answers = self.ask(method, arguments(self._divide(missing)), timeout_s)
            arrived: list[AnyDelivery] = answers.values
            for delivery in arrived:
                delivery.raise_fault()
                if delivery.error:
                    raise RunnerError.of(delivery.worker_index, delivery.error)
                missing -= set(delivery.numbers)
            deliveries += arrived
            patience.note(answers)
            if missing:
                self._await_runners(patience, len(missing))
        return sorted(deliveries, key=lambda delivery: delivery.worker_index)

    def learn_rows(self, columns: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
        """Update on the rows of each module: module -> columns [R, ...]."""
        num_learners = max(1, self.config.num_learners)
        shares = [make_share(columns, share, num_learners) for share in range(num_learners)]
        given = {"batch": shares[0]} if num_learners == 1 else {"batches": shares}
        self.update_learners(given, **{ITERATION: self.iterations_done})

    def learner_state(self) -> State:
        """All state there is: runners keep nothing."""
        return {**super().learner_state(), "iterations_done": self.iterations_done}

    def restore_learners(self, state: Mapping[str, Any]) -> None:
        """Take over a `learner_state`."""
        super().restore_learners(state)
        self.iterations_done = state["iterations_done"]

    def _divide(self, missing: set[int]) -> Shares:
        """The missing numbers for the runners that are up, in runs of their numbers."""
        workers = sorted(self.env_runner_group.healthy_worker_ids())
        parts = np.array_split(np.array(sorted(missing)), max(1, len(workers)))
        return {
            worker: cast("list[int]", part.tolist())
            for worker, part in zip(workers, parts, strict=False)
        }

    def _await_runners(self, patience: Patience, num_missing: int) -> None:
        if patience.is_over:
            raise SamplingError(
                f"{num_missing} {self.work_name} are missing, and no runner delivered any more "
                f"within {self.config.sample_timeout_s:g} s (rollouts.sample_timeout_s); the last "
                f"checkpoint stands, resume from it with --resume"
            )
        self.restore_env_runners(self.env_runner_group)
        time.sleep(1.0)
