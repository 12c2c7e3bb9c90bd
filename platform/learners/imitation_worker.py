"""Imitation on Ray Train: the loop of a training worker, and its channel to the driver.

The workers learn and measure the held-out loss; the driver plays, saves and decides when to stop.
Between them stands one `TrainingChannel` actor: snapshots go up, the wish to stop comes down. It
also holds the newest snapshot, from which Ray Train's retries go on after a lost worker. The run
folder is the driver's alone, so that workers may live on other machines.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.train
import torch
from numpy.typing import NDArray
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchTrainer, get_device, prepare_model
from ray.train.v2.api.exceptions import WorkerGroupError
from torch import nn

from parley.envs.cartpole.episodes import EpisodeSet
from parley.platform.config.cartpole import CartPoleImitateConfig
from parley.platform.errors import ParleyError
from parley.platform.learners.devices import gpus_per_learner
from parley.platform.learners.imitation import DivergedError, ImitationLearner, WindowSource
from parley.platform.telemetry.quiet import quiet_libraries
from parley.policies.actor_critic import LanguageActorCritic
from parley.policies.building import build_policy

MAX_WAITING = 2
"""Snapshots that wait for the driver before the workers do."""
STOP_CHECK_STEPS = 10
"""Gradient steps between two looks at whether to stop."""
TAKE_TIMEOUT_S = 0.2
"""How long the driver waits for a snapshot before it looks after other things."""
MAX_FAILURES = 2
"""Lost workers that a run survives."""
POLL_INTERVAL_S = "0.5"
"""How often Ray Train looks after its workers; its own 2 s would be felt at the end of a run."""


class WorkersFailedError(ParleyError):
    """The training workers failed too often; the snapshots that arrived stand."""


@dataclass(frozen=True)
class Snapshot:
    """Everything about a training between two gradient steps."""

    step: int
    """Gradient steps so far."""
    weights: dict[str, NDArray[Any]]
    """State dict of the language model."""
    optimiser: dict[str, Any] | None = None
    """See `ImitationLearner.optimiser_state`; None before the first step."""
    loss_sum: float = 0.0
    """Sum of the training losses since the last row of metrics."""
    num_losses: int = 0
    """How many they are."""
    seconds: float = 0.0
    """Time spent in gradient steps and held-out losses."""
    row: dict[str, Any] | None = None
    """Figures for `metrics.jsonl`, where this step has any."""
    device: str = "cpu"
    """Where the gradients were computed."""


class TrainingChannel:
    """The state of the actor between driver and workers; async, so that callers may wait.

    Args:
        newest: where training begins.
    """

    def __init__(self, newest: Snapshot) -> None:
        self._newest = newest
        self._waiting: asyncio.Queue[Snapshot | str] = asyncio.Queue(MAX_WAITING)
        self._stop = False

    async def post(self, message: Snapshot | str) -> None:
        """Hand over a snapshot, or why training cannot go on; waits while the driver is behind."""
        if isinstance(message, Snapshot):
            self._newest = message
        await self._waiting.put(message)

    async def take(self, timeout_s: float) -> Snapshot | str | None:
        """The oldest message that waits, or None after `timeout_s`."""
        try:
            return await asyncio.wait_for(self._waiting.get(), timeout_s)
        except TimeoutError:
            return None

    async def newest(self) -> Snapshot:
        """Where a worker that starts has to go on."""
        return self._newest

    async def request_stop(self) -> None:
        """Ask the workers to hand over a snapshot and end."""
        self._stop = True

    async def stop_requested(self) -> bool:
        """Whether the workers should end."""
        return self._stop


@dataclass(frozen=True)
class TrainingJob:
    """What every worker is given."""

    config: CartPoleImitateConfig
    policy_settings: Mapping[str, Any]
    """See `policies.building`."""
    training_episodes: Any
    """Reference to an `EpisodeSet`."""
    heldout_episodes: Any
    """Reference to an `EpisodeSet`."""
    channel: Any
    """Handle of the `TrainingChannel`."""


class ImitationTraining:
    """A running training, as the driver sees it.

    Args:
        config: the experiment.
        policy_settings: sizes of the policy.
        training_episodes, heldout_episodes: what to learn, and what to measure on.
        start: where to begin.
        use_gpu: whether the workers compute on GPUs.
    """

    def __init__(
        self,
        config: CartPoleImitateConfig,
        policy_settings: Mapping[str, Any],
        training_episodes: EpisodeSet,
        heldout_episodes: EpisodeSet,
        start: Snapshot,
        use_gpu: bool,
    ) -> None:
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", POLL_INTERVAL_S)
        self._channel: Any = ray.remote(num_cpus=0)(TrainingChannel).remote(start)
        self._job = TrainingJob(
            config,
            dict(policy_settings),
            ray.put(training_episodes),
            ray.put(heldout_episodes),
            self._channel,
        )
        self._scaling = scaling_config(config, use_gpu)
        self._error: BaseException | None = None
        # A thread, because fit() blocks, and takes over Ctrl-C where it runs in the main one.
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)
        self._thread.start()

    def snapshots(self) -> Iterator[Snapshot | None]:
        """All snapshots until training ends; None now and then while there is none.

        Raises:
            DivergedError: training diverged.
            WorkersFailedError: workers failed more often than `MAX_FAILURES`.
        """
        running = True
        while running:
            running = self._thread.is_alive()
            message: Any = ray.get(self._channel.take.remote(TAKE_TIMEOUT_S))
            if isinstance(message, str):
                raise DivergedError(message)
            running = running or message is not None
            yield message
        if self._error is not None:
            raise WorkersFailedError(
                f"the training workers failed {MAX_FAILURES + 1} times: {_cause(self._error)}; go "
                f"on from the last checkpoint with --resume"
            ) from self._error

    def request_stop(self) -> None:
        """Let the workers end at the next occasion; their last snapshot follows."""
        ray.get(self._channel.request_stop.remote())

    def _fit(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="parley-ray-train-") as folder:
                TorchTrainer(
                    train_worker,
                    train_loop_config={"job": self._job},
                    scaling_config=self._scaling,
                    run_config=RunConfig(  # type: ignore[call-arg]  # typed as its v1
                        name="imitation",
                        storage_path=folder,
                        failure_config=FailureConfig(max_failures=MAX_FAILURES),
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


def scaling_config(config: CartPoleImitateConfig, use_gpu: bool) -> ScalingConfig:
    """One worker for each learner, at least one."""
    resources: dict[str, float] = {"CPU": 1}
    if use_gpu:
        resources["GPU"] = gpus_per_learner(config.learner)
    return ScalingConfig(
        num_workers=max(1, config.learner.num_learners),
        use_gpu=use_gpu,
        resources_per_worker=resources,
    )


def train_worker(loop_config: Mapping[str, Any]) -> None:
    """What Ray Train runs in every worker: gradient steps, held-out losses, snapshots."""
    quiet_libraries()
    job: TrainingJob = loop_config["job"]
    context = ray.train.get_context()
    loop = WorkerLoop(job, context.get_world_rank(), context.get_world_size())
    try:
        loop.run()
    except DivergedError as error:
        # All ranks see the same gradient. Raised, it would be tried again in vain.
        if loop.rank == 0:
            ray.get(job.channel.post.remote(str(error)))


@dataclass
class _Pace:
    """What has happened since the last row of metrics."""

    loss_sum: float
    num_losses: int
    seconds: float
    """Of the whole run."""
    row_seconds: float
    """The value of `seconds` at the last row."""
    started: float = field(default_factory=time.perf_counter)

    def tick(self) -> None:
        """Count the time since the last tick."""
        now = time.perf_counter()
        self.seconds += now - self.started
        self.started = now


class WorkerLoop:
    """One worker's way from the newest snapshot to the end.

    Args:
        job: what the driver wants.
        rank, num_ranks: of this worker.
    """

    def __init__(self, job: TrainingJob, rank: int, num_ranks: int) -> None:
        config = job.config
        if config.learner.num_threads:
            torch.set_num_threads(config.learner.num_threads)
        self.rank = rank
        self.num_ranks = num_ranks
        self._training = config.training
        self._save_interval = config.checkpoint.interval_iterations
        self._channel = job.channel
        start: Snapshot = ray.get(job.channel.newest.remote())
        policy = build_policy(config.policy, job.policy_settings)
        assert isinstance(policy, LanguageActorCritic)
        device = get_device()
        assert isinstance(device, torch.device)
        nn.Module.to(policy, device)
        model = policy.language_model
        self._device = device.type
        self._learner = ImitationLearner(
            model, self._training, config.seed, rank, num_ranks, prepare_model(model)
        )
        self._learner.restore(start.weights, start.optimiser)
        labels = config.data.action_labels == "expert"
        crop_steps = self._training.crop_steps
        self._source = WindowSource(ray.get(job.training_episodes), crop_steps, labels)
        self._heldout = WindowSource(ray.get(job.heldout_episodes), crop_steps, labels)
        loss_sum = start.loss_sum if rank == 0 else 0.0
        self._pace = _Pace(loss_sum, start.num_losses, start.seconds, start.seconds)

    def run(self) -> None:
        """Train to the end, or until the driver wants to stop."""
        while self._learner.num_steps < self._training.num_steps:
            self._pace.loss_sum += self._learner.learn(self._source)
            self._pace.num_losses += 1
            self._pace.tick()
            step = self._learner.num_steps
            ended = step == self._training.num_steps
            stop = step % STOP_CHECK_STEPS == 0 and self._should_stop()
            if ended or step % self._training.eval_interval == 0:
                self._report()
            elif stop or step % self._save_interval == 0:
                self._hand_over(None)
            if stop:
                return

    def _report(self) -> None:
        """A row of metrics with a snapshot; Ray Train learns of the row too."""
        pace = self._pace
        row: dict[str, Any] = {
            "iteration": self._learner.num_steps,
            "train_loss": self._sum_over_ranks(pace.loss_sum) / pace.num_losses,
            "steps_per_s": pace.num_losses / max(pace.seconds - pace.row_seconds, 1e-9),
        }
        pace.loss_sum, pace.num_losses = 0.0, 0
        if self.rank == 0:
            row |= self._learner.evaluate(self._heldout).means("heldout_loss")
        pace.tick()
        pace.row_seconds = pace.seconds
        self._hand_over({**row, "seconds": pace.seconds})
        ray.train.report(row)
        pace.started = time.perf_counter()

    def _hand_over(self, row: dict[str, Any] | None) -> None:
        loss_sum = self._sum_over_ranks(self._pace.loss_sum)
        if self.rank != 0:
            # Rank 0 carries the whole sum from here on.
            self._pace.loss_sum = 0.0
            return
        self._pace.loss_sum = loss_sum
        snapshot = Snapshot(
            self._learner.num_steps,
            self._learner.weights(),
            self._learner.optimiser_state(),
            loss_sum,
            self._pace.num_losses,
            self._pace.seconds,
            row,
            self._device,
        )
        ray.get(self._channel.post.remote(snapshot))

    def _should_stop(self) -> bool:
        stop = self.rank == 0 and ray.get(self._channel.stop_requested.remote())
        return bool(broadcast_from_rank_zero(stop)) if self.num_ranks > 1 else stop

    def _sum_over_ranks(self, value: float) -> float:
        if self.num_ranks == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=get_device())
        torch.distributed.all_reduce(total)
        return total.item()
