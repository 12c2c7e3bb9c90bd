"""Next-token training on Ray Train, as a worker sees it: gradient steps, figures, snapshots."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
import ray.train
import torch
from ray.train.torch import get_device, prepare_model
from torch import nn

from parley.platform.engine.next_token.channel import Snapshot
from parley.platform.engine.next_token.gradient_step import (
    NextTokenLearner,
    NextTokenSettings,
    TokenBatch,
)
from parley.platform.engine.next_token.mutation_ramp import MutationRamp
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.engine.worker_channel import LOOK_INTERVAL_S
from parley.platform.records import Metrics, Row
from parley.platform.settings.sections import LearnerConfig
from parley.platform.terminal.activities import Activity, Teller, activity, listening
from parley.platform.terminal.quiet import quiet_libraries
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.building import build_policy

WORKERS = "workers"
"""The name under which they say what they are at."""


class BatchSource(Protocol):
    """Where a worker's batches come from."""

    def batch(self, step: int) -> TokenBatch:
        """The whole batch of a gradient step, the same in every worker and every run.

        Asked for by each worker at every step from its first on.
        """

    def measure(self, model: DHMMGPT2ForCausalLM) -> Metrics:
        """Figures for a row of metrics that need the data; rank 0 alone is asked."""


class TrainingTask(Protocol):
    """What is learned; travels to the workers."""

    def open(self, first_step: int, num_ranks: int) -> BatchSource:
        """Begin to deliver batches, in one of `num_ranks` workers."""


@dataclass(frozen=True)
class TrainingJob:
    """What every worker is given."""

    policy: str
    """A row of `policies.building`."""
    policy_settings: Mapping[str, Any]
    """Its sizes."""
    task: TrainingTask
    training: NextTokenSettings
    learner: LearnerConfig
    seed: int
    """Of noise in the model."""
    save_interval: int
    """Gradient steps between snapshots without figures."""
    ramp: MutationRamp | None = None
    """How mutation noise rises; None: it stays as the policy has it."""


def train_worker(loop_config: Mapping[str, Any]) -> None:
    """What Ray Train runs in every worker."""
    quiet_libraries()
    channel = loop_config["channel"]
    context = ray.train.get_context()
    loop = WorkerLoop(
        loop_config["job"], channel, context.get_world_rank(), context.get_world_size()
    )
    try:
        with listening(Teller(loop.tell, LOOK_INTERVAL_S)):
            loop.run()
    except NonFiniteLossError as error:
        # All ranks see the same gradient. Raised, it would be tried again in vain.
        if loop.rank == 0:
            ray.get(channel.post.remote(error))


@dataclass
class _Pace:
    """What has happened since the last row of metrics."""

    loss_sum: float
    num_losses: int
    num_tokens: int
    """Of the whole run."""
    seconds: float
    """Of the whole run."""
    row_steps: int = 0
    row_tokens: int = 0
    row_seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def count(self, loss: float, num_tokens: int) -> None:
        """Count a gradient step, and the time since the last tick."""
        self.loss_sum += loss
        self.num_losses += 1
        self.row_steps += 1
        self.num_tokens += num_tokens
        self.row_tokens += num_tokens
        self.tick()

    def tick(self) -> None:
        """Count the time since the last tick."""
        now = time.perf_counter()
        self.seconds += now - self.started
        self.row_seconds += now - self.started
        self.started = now

    def begin_row(self) -> None:
        """Forget what the last row has told."""
        self.loss_sum, self.num_losses = 0.0, 0
        self.row_steps, self.row_tokens, self.row_seconds = 0, 0, 0.0

    def speeds(self) -> dict[str, float]:
        """Gradient steps and tokens by the second since the last row, or since the worker began."""
        seconds = max(self.row_seconds, 1e-9)
        return {"steps_per_s": self.row_steps / seconds, "tokens_per_s": self.row_tokens / seconds}


class WorkerLoop:
    """One worker's way from the newest snapshot to the end.

    Args:
        job: what the driver wants.
        channel: handle of the `TrainingChannel`.
        rank, num_ranks: of this worker.
    """

    def __init__(self, job: TrainingJob, channel: Any, rank: int, num_ranks: int) -> None:
        if job.learner.num_threads:
            torch.set_num_threads(job.learner.num_threads)
        self.rank = rank
        self.num_ranks = num_ranks
        self._job = job
        self._channel = channel
        start: Snapshot = ray.get(channel.newest.remote())
        policy = build_policy(job.policy, job.policy_settings)
        assert isinstance(policy, LanguageActorCritic)
        device = get_device()
        assert isinstance(device, torch.device)
        nn.Module.to(policy, device)
        self._model = policy.language_model
        self._device = device.type
        self._learner = NextTokenLearner(
            self._model, job.training, job.seed, rank, num_ranks, prepare_model(self._model)
        )
        self._learner.restore(start.weights, start.optimiser)
        self._ramp_start = start.ramp_start
        self._source = job.task.open(start.step, num_ranks)
        loss_sum = start.loss_sum if rank == 0 else 0.0
        self._pace = _Pace(loss_sum, start.num_losses, start.num_tokens, start.seconds)
        self._looked_s = time.perf_counter()

    def run(self) -> None:
        """Train to the end, or until the driver wants to stop."""
        total, begun = self._job.training.num_steps, self._learner.num_steps
        with activity("training", total, "steps", begun, pace_unit="tokens") as training:
            while self._learner.num_steps < total:
                self._step(training)
                step = self._learner.num_steps
                stop = self._should_stop()
                if step == total or step % self._job.training.eval_interval == 0:
                    self._report()
                elif stop or step % self._job.save_interval == 0:
                    self._hand_over(None)
                if stop:
                    return

    def tell(self, lines: list[str]) -> None:
        """Say what the workers are at: they are at the same step, so one speaks for all."""
        if self.rank == 0:
            self._channel.tell.remote(WORKERS, lines)

    def _step(self, training: Activity) -> None:
        if self._job.ramp is not None:
            noise = self._job.ramp.noise(self._learner.num_steps, self._ramp_start)
            self._model.set_mutation_noise(noise)
        batch = self._source.batch(self._learner.num_steps)
        part = self._learner.learn(batch)
        self._pace.count(part, batch.num_tokens)
        # The other ranks' parts are about as large.
        training.advance(handled=batch.num_tokens, loss=part * self.num_ranks)

    def _report(self) -> None:
        """A row of metrics with a snapshot; Ray Train learns of the row too."""
        pace = self._pace
        train_loss = self._sum_over_ranks(pace.loss_sum) / pace.num_losses
        row: Row = {"iteration": self._learner.num_steps, "train_loss": train_loss}
        row |= pace.speeds()
        pace.begin_row()
        if self._job.ramp is not None:
            row["mutation_noise"] = self._model.config.mutation_noise
            if self._ramp_start is None and train_loss < self._job.ramp.trigger_loss:
                self._ramp_start = self._learner.num_steps
        if self.rank == 0:
            row |= self._source.measure(self._model)
        pace.tick()
        pace.row_seconds = 0.0
        self._hand_over({**row, "tokens": pace.num_tokens, "seconds": pace.seconds})
        ray.train.report(row)
        pace.started = time.perf_counter()

    def _hand_over(self, row: Row | None) -> None:
        loss_sum = self._sum_over_ranks(self._pace.loss_sum)
        if self.rank != 0:
            # Rank 0 carries the whole sum from here on.
            self._pace.loss_sum = 0.0
            return
        self._pace.loss_sum = loss_sum
        snapshot = Snapshot(
            step=self._learner.num_steps,
            weights=self._learner.weights(),
            optimiser=self._learner.optimiser_state(),
            loss_sum=loss_sum,
            num_losses=self._pace.num_losses,
            num_tokens=self._pace.num_tokens,
            ramp_start=self._ramp_start,
            seconds=self._pace.seconds,
            row=row,
            device=self._device,
        )
        ray.get(self._channel.post.remote(snapshot))

    def _should_stop(self) -> bool:
        """Whether the driver wants to stop; all ranks hear the same at the same step."""
        stop, now_s = False, time.perf_counter()
        if self.rank == 0 and now_s - self._looked_s >= LOOK_INTERVAL_S:
            self._looked_s = now_s
            stop = ray.get(self._channel.stop_requested.remote())
        return self._sum_over_ranks(float(stop)) > 0.0

    def _sum_over_ranks(self, value: float) -> float:
        if self.num_ranks == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=get_device())
        torch.distributed.all_reduce(total)
        return total.item()
