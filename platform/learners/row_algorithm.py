"""RLlib's PPO on numbered pieces of work: what runners bring back does not depend on who did it.

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
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE
from ray.rllib.utils.metrics import LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from parley.platform.learners.ppo_algorithm import SamplingError, TokenPPO
from parley.platform.learners.row_batch import make_share
from parley.platform.learners.row_learner import ITERATION

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


class RowPPO(TokenPPO):
    """PPO whose runners do numbered work and whose learners take padded rows."""

    work_name = "pieces of work"
    """What the numbers count, in messages."""

    def setup(self, config: Any) -> None:
        """Start runners and learners."""
        super().setup(config)
        self.iterations_done = 0

    def gather(
        self, method: str, numbers: Iterable[int], arguments: Callable[[Shares], dict[str, Any]]
    ) -> list[AnyDelivery]:
        """Have the runners do their shares, all of them, whatever happens to a runner meanwhile.

        Args:
            method: of the runners.
            numbers: what is to be done.
            arguments: gives the method's arguments for the shares of what is still missing.

        Returns:
            What the runners brought, in the order of the runners.

        Raises:
            RuntimeError: a runner failed at its work, with its traceback.
            SamplingError: work is missing after `sample_timeout_s`.
        """
        missing, deliveries = set(numbers), list[AnyDelivery]()
        deadline = time.monotonic() + self.config.sample_timeout_s
        while missing:
            arrived: list[AnyDelivery] = self.env_runner_group.foreach_env_runner(
                method,
                kwargs=arguments(self._divide(missing)),
                local_env_runner=False,
                timeout_seconds=max(1.0, deadline - time.monotonic()),
            )
            for delivery in arrived:
                delivery.raise_fault()
                if delivery.error:
                    raise RuntimeError(f"runner {delivery.worker_index} failed:\n{delivery.error}")
                missing -= set(delivery.numbers)
            deliveries += arrived
            if missing:
                self._await_runners(deadline, len(missing))
        return sorted(deliveries, key=lambda delivery: delivery.worker_index)

    def learn_rows(self, columns: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
        """Update on the rows of each module: module -> columns [R, ...]."""
        num_learners = max(1, self.config.num_learners)
        shares = [make_share(columns, share, num_learners) for share in range(num_learners)]
        results = self.learner_group.update(
            **({"batch": shares[0]} if num_learners == 1 else {"batches": shares}),
            timesteps={
                NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps,
                ITERATION: self.iterations_done,
            },
            num_epochs=self.config.num_epochs,
            minibatch_size=self.config.minibatch_size,
            shuffle_batch_per_epoch=True,
        )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def training_state(self) -> dict[str, Any]:
        """All that `restore_training` needs: plain values and numpy arrays."""
        learner = self.learner_group.get_state()[COMPONENT_LEARNER]
        return {
            "iterations_done": self.iterations_done,
            "num_env_steps": self.num_env_steps,
            "weights": learner[COMPONENT_RL_MODULE],
            "optimizers": learner[COMPONENT_OPTIMIZER],
        }

    def restore_training(self, state: Mapping[str, Any]) -> None:
        """Go on where `training_state` was called; for a fresh algorithm."""
        self.iterations_done = state["iterations_done"]
        self.num_env_steps = state["num_env_steps"]
        self.learner_group.set_state(
            {
                COMPONENT_LEARNER: {
                    COMPONENT_RL_MODULE: state["weights"],
                    COMPONENT_OPTIMIZER: state["optimizers"],
                }
            }
        )

    def _divide(self, missing: set[int]) -> Shares:
        """The missing numbers for the runners that are up, in runs of their numbers."""
        workers = sorted(self.env_runner_group.healthy_worker_ids())
        parts = np.array_split(np.array(sorted(missing)), max(1, len(workers)))
        return {
            worker: cast("list[int]", part.tolist())
            for worker, part in zip(workers, parts, strict=False)
        }

    def _await_runners(self, deadline: float, num_missing: int) -> None:
        if time.monotonic() > deadline:
            raise SamplingError(
                f"{num_missing} {self.work_name} are missing after "
                f"{self.config.sample_timeout_s:.0f} s (rollouts.sample_timeout_s); the last "
                f"checkpoint stands, go on with --resume"
            )
        self.restore_env_runners(self.env_runner_group)
        time.sleep(1.0)
