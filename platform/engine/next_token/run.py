"""One run of next-token training: Ray Train learns, the driver measures, saves and reports.

The training worker goes on while the driver measures its last snapshot; the files of the run are
written in the order of the gradient steps all the same.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from parley.platform.cluster.connection import connect_ray
from parley.platform.engine.next_token.channel import Snapshot
from parley.platform.engine.next_token.gradient_step import NextTokenSettings
from parley.platform.engine.next_token.placement import place_workers
from parley.platform.engine.next_token.training import NextTokenTraining
from parley.platform.engine.next_token.worker import WORKERS, TrainingJob
from parley.platform.engine.training_run import TrainingRun
from parley.platform.records import Facts, Metrics, Result, Row, State
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import Interrupting, StopOverdue, StopSignal
from parley.platform.settings.sections import CheckpointConfig, LearnerConfig, RayConfig
from parley.platform.terminal.progress import Column, Progress
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.building import build_policy, load_policy


class NextTokenConfig(Protocol):
    """What an experiment of next-token training has to say here."""

    seed: int
    ray: RayConfig
    learner: LearnerConfig
    checkpoint: CheckpointConfig

    @property
    def policy(self) -> str:
        """A row of `policies.building`."""

    @property
    def training(self) -> NextTokenSettings:
        """The gradient steps."""


class NextTokenRun(TrainingRun):
    """The state of one run between snapshots; what is learned and measured is the subclass's.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        policy_settings: sizes of the policy, see `policies.building`.
        start: state dict of the policy to begin with; fresh weights where absent.
    """

    def __init__(
        self,
        config: NextTokenConfig,
        run_folder: RunFolder,
        policy_settings: Mapping[str, Any],
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(run_folder, config.checkpoint.keep)
        self.policy_settings = policy_settings
        self._config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            policy = build_policy(config.policy, policy_settings)
        assert isinstance(policy, LanguageActorCritic)
        if start is not None:
            policy.load_state_dict(start)
        self.policy = policy
        self.best: Row | None = None
        self.snapshot = Snapshot(0, self._weights())
        self.is_measure_due = False
        """Whether the snapshot has a row that is not recorded."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train, nor to measure on the way."""
        return self.snapshot.step >= self._config.training.num_steps and not self.is_measure_due

    @abstractmethod
    def make_job(self) -> TrainingJob:
        """What the workers do; Ray is there."""

    @abstractmethod
    def measure_row(self) -> Row:
        """Figures of `self.policy`, by which the best checkpoint is chosen."""

    @abstractmethod
    def rank(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """What is larger for the better policy; the first number is the checkpoint's score."""

    @abstractmethod
    def facts(self) -> Facts:
        """What `policy.json` tells of the policies."""

    @abstractmethod
    def save_policies(self, folder: Path) -> None:
        """Write the folders of `self.policy`."""

    @abstractmethod
    def measure_best(self, checkpoint: Checkpoint) -> Metrics:
        """The final figures."""

    def remarks(self) -> Sequence[str]:
        """What there is to say of a training that has ended."""
        return ()

    def train(self, use_gpu: bool, stop: StopSignal, progress: Progress) -> None:
        """Take in the snapshots of workers until the training ends, or is stopped.

        Workers that do not come to the next snapshot in time after a stop signal are left; a
        measure that is not ready in time is made when the run goes on.
        """
        try:
            if self.is_measure_due:
                self._show(self.take_in(self.snapshot, stop.interrupting), progress)
            if not self.finished:
                training = NextTokenTraining(self.make_job(), self.snapshot, use_gpu)
                self._take_in_all(training, stop, progress)
        except StopOverdue:
            if self.is_measure_due:
                self._save(None)
            else:
                progress.say("the step in progress was given up; the last checkpoint stands")
        finally:
            progress.tell(WORKERS, ())

    def _take_in_all(
        self, training: NextTokenTraining, stop: StopSignal, progress: Progress
    ) -> None:
        asked = False
        with ExitStack() as starting:
            starting.enter_context(progress.status("starting the training workers"))
            for snapshot in training.snapshots():
                if lines := training.told().get(WORKERS):
                    starting.close()
                    progress.tell(WORKERS, lines)
                # Workers may run ahead of the snapshot that shows that all is learned.
                if snapshot is not None and not self.finished:
                    self._show(self.take_in(snapshot, stop.interrupting), progress)
                with stop.interrupting():
                    if (stop.received or self.finished) and not asked:
                        training.request_stop()
                        asked = True

    def _show(self, row: Row | None, progress: Progress) -> None:
        if row is not None:
            progress.update(row)

    def take_in(self, snapshot: Snapshot, interrupting: Interrupting = nullcontext) -> Row | None:
        """Measure, record and save a snapshot; give its row of metrics where it has one.

        Raises:
            StopOverdue: stopped while it measured; nothing was recorded.
        """
        self.snapshot, self.seconds = snapshot, snapshot.seconds
        self.policy.language_model.load_state_dict(
            {name: torch.from_numpy(array.copy()) for name, array in snapshot.weights.items()}
        )
        if snapshot.row is None:
            self._save(None)
            return None
        self.policy.eval()
        self.is_measure_due = True
        with interrupting():
            row = {**snapshot.row, **self.measure_row()}
        self.is_measure_due = False
        self.run_folder.append_metrics(row)
        is_best = self.best is None or self.rank(row) > self.rank(self.best)
        if is_best:
            self.best = row
        self._save(self.rank(row)[0] if is_best else None)
        return row

    def restore(self) -> None:
        """Go on from the newest sound checkpoint; later rows of metrics are dropped."""
        checkpoint = self.store.find("last")
        if checkpoint is None:
            self.run_folder.drop_metrics_after(0)
            return
        state = checkpoint.read_trainer_state()
        policy = load_policy(next(iter(checkpoint.policy_folders.values())))
        self.policy.load_state_dict(policy.state_dict())
        self.restore_progress(state)
        self.snapshot = Snapshot(weights=self._weights(), **state["snapshot"])
        self.seconds = self.snapshot.seconds
        self.is_measure_due = self.snapshot.row is not None
        self.run_folder.drop_metrics_after(self.snapshot.step)

    def progress_state(self) -> State:
        """What the driver knows of the run's progress besides the newest snapshot."""
        return {"best": self.best}

    def restore_progress(self, state: Mapping[str, Any]) -> None:
        """Take over a `progress_state`."""
        self.best = state["best"]

    def measure_end(self, checkpoint: Checkpoint | None) -> Metrics:
        """The best policy on fresh inputs."""
        assert checkpoint is not None and self.best is not None, "a finished run has rows"
        return {
            **self.measure_best(checkpoint),
            "best_step": self.best["iteration"],
            "train_steps": self.snapshot.step,
            "train_tokens": self.snapshot.num_tokens,
            "train_seconds": self.snapshot.seconds,
        }

    def details(self) -> Facts:
        """Where the gradients were computed."""
        return {"device": self.snapshot.device}

    def _weights(self) -> State:
        state = self.policy.language_model.state_dict()
        return {name: tensor.detach().numpy().copy() for name, tensor in state.items()}

    def _save(self, best_score: float | None) -> None:
        left_out = ["weights"] if self.is_measure_due else ["weights", "row"]
        snapshot = {
            name: value for name, value in vars(self.snapshot).items() if name not in left_out
        }
        state = {**self.progress_state(), "snapshot": snapshot}
        self.store.save(self.snapshot.step, self.save_policies, self.facts(), state, best_score)


@dataclass(frozen=True)
class NextTokenPlan:
    """How a workflow's run of next-token training goes."""

    make_run: Callable[[StopSignal, Progress], NextTokenRun]
    """Ray is there, and room for the workers."""
    columns: Sequence[Column]
    """What the terminal shows of a row."""
    num_processes: int
    """Of one CPU each that the run asks for."""
    measuring: str
    """What is done at the end, in words."""
    other_cpus: int = 0
    """CPUs that the workers need besides their own."""
    others: str = ""
    """What for, in words."""


def train_next_token(config: NextTokenConfig, plan: NextTokenPlan, resume: bool) -> Result:
    """Train from the newest checkpoint or from the beginning to the run's end; its result.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        ConfigError: the cluster can never hold the workers.
        NonFiniteLossError, WorkersFailedError: training failed; the checkpoints so far stand.
    """
    with StopSignal(config.checkpoint.stop_grace_s) as stop, Progress(plan.columns) as progress:
        with connect_ray(config.ray, plan.num_processes, progress):
            use_gpu = place_workers(config.learner, plan.other_cpus, plan.others)
            run = plan.make_run(stop, progress)
            if resume:
                run.restore()
            if not run.finished and not stop.received:
                run.train(use_gpu, stop, progress)
        if stop.received and not run.finished:
            run.conclude(stopped=True)
        for remark in run.remarks():
            progress.say(remark)
        with stop.at_once(), progress.status(plan.measuring):
            return run.conclude()
