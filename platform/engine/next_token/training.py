"""Next-token training on Ray Train, as the driver sees it.

The workers learn; the driver measures, saves and decides when to stop. The run folder is the
driver's alone, so that workers may live on other machines.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import ray
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import WorkerGroupError

from parley.platform.cluster.devices import gpus_per_learner
from parley.platform.engine.next_token.channel import Snapshot, TrainingChannel
from parley.platform.engine.next_token.worker import TrainingJob, train_worker
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.errors import ParleyError
from parley.platform.settings.sections import LearnerConfig

TAKE_TIMEOUT_S = 0.2
"""How long the driver waits for a snapshot before it looks after other things."""
LEAVE_TIMEOUT_S = 30.0
"""How long the workers may take to return from a training that has diverged."""
POLL_INTERVAL_S = "0.5"
"""How often Ray Train looks after its workers; its own 2 s would be felt at the end of a run."""


class WorkersFailedError(ParleyError):
    """The training workers failed too often; the snapshots that arrived stand."""


class NextTokenTraining:
    """A running training.

    Args:
        job: what the workers do.
        start: where to begin.
        use_gpu: whether the workers compute on GPUs.
    """

    def __init__(self, job: TrainingJob, start: Snapshot, use_gpu: bool) -> None:
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", POLL_INTERVAL_S)
        self._channel: Any = ray.remote(num_cpus=0)(TrainingChannel).remote(start)
        self._job = job
        self._scaling = scaling_config(job.learner, use_gpu)
        self._error: BaseException | None = None
        # A thread, because fit() blocks, and takes over Ctrl-C where it runs in the main one.
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)
        self._thread.start()

    def snapshots(self) -> Iterator[Snapshot | None]:
        """All snapshots until training ends; None now and then while there is none.

        Raises:
            NonFiniteLossError: training diverged.
            WorkersFailedError: workers failed more often than `learner.max_restarts`.
        """
        running = True
        while running:
            running = self._thread.is_alive()
            message: Any = ray.get(self._channel.take.remote(TAKE_TIMEOUT_S))
            if isinstance(message, NonFiniteLossError):
                self._thread.join(LEAVE_TIMEOUT_S)  # the other workers meet the same and return
                ray.kill(self._channel)  # the error's traceback would hold it
                raise message
            running = running or message is not None
            yield message
        if self._error is not None:
            raise WorkersFailedError(
                f"the training workers failed more than {self._job.learner.max_restarts} times "
                f"(learner.max_restarts): {_cause(self._error)}; go on from the last checkpoint "
                f"with --resume"
            ) from self._error

    def told(self) -> dict[str, list[str]]:
        """What workers are at, a line for each activity; nothing before they have begun."""
        told: dict[str, list[str]] = ray.get(self._channel.told.remote())
        return told

    def request_stop(self) -> None:
        """Let the workers end at the next occasion; their last snapshot follows."""
        ray.get(self._channel.request_stop.remote())

    def _fit(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="parley-ray-train-") as folder:
                TorchTrainer(
                    train_worker,
                    train_loop_config={"job": self._job, "channel": self._channel},
                    scaling_config=self._scaling,
                    run_config=RunConfig(  # type: ignore[call-arg]  # typed as its v1
                        name="next_token",
                        storage_path=folder,
                        failure_config=FailureConfig(max_failures=self._job.learner.max_restarts),
                        logging_config=LoggingConfig(log_level="CRITICAL"),
                    ),
                ).fit()
        except BaseException as error:
            self._error = error


def _cause(error: BaseException) -> str:
    """What happened in the first worker that failed, in one line."""
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        error = next(iter(error.worker_failures.values()))
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def scaling_config(learner: LearnerConfig, use_gpu: bool) -> ScalingConfig:
    """One worker for each learner, at least one."""
    resources: dict[str, float] = {"CPU": 1, **(learner.resources or {})}
    if use_gpu:
        resources["GPU"] = gpus_per_learner(learner)
    return ScalingConfig(
        num_workers=max(1, learner.num_learners),
        use_gpu=use_gpu,
        resources_per_worker=resources,
    )
