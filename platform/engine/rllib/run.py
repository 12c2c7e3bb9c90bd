"""One run of policy gradients: attempts, iterations, evaluations, checkpoints, its end.

    train_policies ── attempt ──► begin or restore ──► iterate … iterate ──► save ──► conclude

RLlib trains; a workflow's `PolicyRun` says what it measures, what is saved and how the run ends.
Lost learners end an attempt, and the next one goes on from the last checkpoint (`recovery`).
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from parley.platform.cluster.connection import connect_ray
from parley.platform.engine.rllib.recovery import attended, recover
from parley.platform.engine.rllib.restorable_algorithm import RestorableAlgorithm
from parley.platform.engine.rllib.rllib_config import PolicyConfig
from parley.platform.engine.training_run import TrainingRun
from parley.platform.records import Facts, Result, Row, State
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore, write_checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import Interrupting, StopOverdue, StopSignal
from parley.platform.terminal.progress import Column, Goal, Progress
from parley.platform.terminal.quiet import quiet_rllib

LOSSES = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")
"""What learners report of each module."""


@dataclass(frozen=True)
class Iteration:
    """What RLlib made of one iteration."""

    losses: Mapping[str, Any]
    """Module -> its `LOSSES`."""
    env_steps: int
    """That it took."""
    seconds: float


class PolicyRun(TrainingRun):
    """The state of one run between iterations; subclasses fill the hooks.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        algorithm: trains; the run stops it.
        interrupting: makes the block in which an iteration may be given up.
    """

    def __init__(
        self,
        config: PolicyConfig,
        run_folder: RunFolder,
        algorithm: RestorableAlgorithm,
        interrupting: Interrupting = nullcontext,
    ) -> None:
        super().__init__(run_folder, config.checkpoint.keep)
        self.algorithm = algorithm
        self.interrupting = interrupting
        self.checkpointing = config.checkpoint
        self.iteration = 0
        self._saved_iteration = 0
        """The newest with a checkpoint; before the first one there is nothing to save."""
        algorithm.copy_updates_over_s = config.checkpoint.stop_grace_s / 2

    @property
    def env_steps(self) -> int:
        """Environment steps so far, those of a warm start included."""
        return self.algorithm.num_env_steps

    # Hooks that a workflow has to fill.

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the run has reached one of its ends."""

    @abstractmethod
    def measure(self, iteration: Iteration) -> Row:
        """The figures of an iteration."""

    @abstractmethod
    def evaluate_if_due(self) -> Row:
        """Figures of the policies of now; may be given up when the run is stopped."""

    @abstractmethod
    def facts(self) -> Facts:
        """What `policy.json` tells of the policies."""

    @abstractmethod
    def save_policies(self, folder: Path) -> None:
        """Write the folders of the policies of now."""

    @abstractmethod
    def own_state(self) -> State:
        """What a resumed run needs of the workflow's."""

    @abstractmethod
    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take over an `own_state`; the algorithm's state follows."""

    # Hooks that may stay as they are, or empty (B027).

    def begin(self, progress: Progress) -> Row | None:
        """Do what comes before the first iteration; the row of the beginning, if there is one."""
        return None

    def watching(self) -> AbstractContextManager[None]:
        """Around all that the algorithm does: explains errors of the workflow's own."""
        return nullcontext()

    def show(self, progress: Progress) -> None:
        """Show something of an iteration besides its row."""

    def finish(self, progress: Progress) -> None:
        """Do what comes after the last iteration and needs runners."""

    def score(self, row: Row) -> float | None:
        """What the policies of a row reached, where the row says so; the more the better."""
        return None

    def new_best(self, row: Row) -> float | None:
        """The score of a row whose policies are better than all before, which is remembered."""
        return None

    def is_save_due(self, row: Row) -> bool:
        """Whether a checkpoint is to be written after this row, though it is not the best."""
        return self.iteration % self.checkpointing.interval_iterations == 0

    def forget_after(self, iteration: int) -> None:
        """Drop what was written of later iterations, which are made again."""
        self.run_folder.drop_metrics_after(iteration)

    # What all runs do.

    def iterate(self) -> Row:
        """One iteration, written down, perhaps with a checkpoint; its row of metrics."""
        return self.record(self.advance())

    def advance(self) -> Row:
        """One iteration: sample, learn, perhaps evaluate; its row of metrics."""
        started, env_steps = time.perf_counter(), self.env_steps
        with self.interrupting():
            losses = self.algorithm.train()["learners"]
        self.iteration += 1
        done, seconds = self.env_steps - env_steps, time.perf_counter() - started
        figures = self.measure(Iteration(losses, done, seconds))
        evaluation = self._evaluate()
        self.seconds += time.perf_counter() - started
        return {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "seconds": self.seconds,
            **figures,
            **evaluation,
        }

    def record(self, row: Row) -> Row:
        """Write a row down, then a checkpoint where one is due."""
        # Before the checkpoint: resuming drops rows that are ahead of it, but cannot make them up.
        self.run_folder.append_metrics(row)
        score = self.new_best(row)
        if score is not None or self.is_save_due(row):
            self.save(score)
        return row

    def save(self, best_score: float | None = None) -> None:
        """Write a checkpoint of this iteration, unless there is one."""
        if self._saved_iteration == self.iteration and best_score is None:
            return
        self.store.save(self.iteration, self.save_policies, self.facts(), self.state(), best_score)
        self._saved_iteration = self.iteration

    def write(self, folder: Path) -> None:
        """Write a checkpoint of this iteration outside of the run's own."""
        write_checkpoint(folder, self.save_policies, self.facts(), self.state())

    def state(self) -> State:
        """What `restore` goes on from."""
        return {
            "iteration": self.iteration,
            "seconds": self.seconds,
            **self.own_state(),
            "algorithm": self.algorithm.training_state(),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint was written."""
        state = checkpoint.read_trainer_state()
        self.iteration = self._saved_iteration = state["iteration"]
        self.seconds = state["seconds"]
        self.restore_own(state)
        self.algorithm.restore_training(state["algorithm"])
        self.forget_after(self.iteration)

    def train(self, stop: StopSignal, progress: Progress) -> None:
        """Iterate to the run's end or to a stop signal, then save."""
        try:
            with progress.status("training"):
                while not self.finished and not stop.received:
                    progress.update(self.iterate())
                    self.show(progress)
                    for notice in self.algorithm.take_notices():
                        progress.say(notice)
        except StopOverdue:
            if not self.algorithm.undo_iteration():
                progress.say("the update in progress was given up; the last checkpoint stands")
                return
            progress.say("the iteration in progress was given up; saving the one before it")
        if stop.received:
            self.algorithm.hurry()
        self.save()

    def close(self) -> None:
        """Stop runners and learners."""
        self.algorithm.stop()

    def _evaluate(self) -> Row:
        try:
            with self.interrupting():
                return self.evaluate_if_due()
        except StopOverdue:
            return {}


AnyRun = TypeVar("AnyRun", bound=PolicyRun)


@dataclass(frozen=True)
class Display:
    """What the terminal shows of a run."""

    columns: Sequence[Column]
    goal: Goal
    measuring: str
    """What is done at the end, in words."""


def find_start(run_folder: RunFolder, resume: bool) -> Checkpoint | None:
    """The checkpoint from which a run goes on; None: it begins."""
    return CheckpointStore(run_folder.checkpoints).find("last") if resume else None


def train_policies(
    config: PolicyConfig,
    checkpoint: Checkpoint | None,
    make_run: Callable[[Interrupting], AnyRun],
    run_folder: RunFolder,
    display: Display,
) -> Result:
    """Train from a checkpoint or from the beginning to the run's end; its result.

    Args:
        config: the experiment.
        checkpoint: where to go on.
        make_run: starts runners and learners of an attempt.
        run_folder: where everything is written.
        display: what the terminal shows.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        LearnerLostError: learners were lost too often.
    """
    quiet_rllib()
    rollouts, learner = config.rollouts, config.learner
    store = CheckpointStore(run_folder.checkpoints)
    with (
        StopSignal(config.checkpoint.stop_grace_s) as stop,
        Progress(display.columns, display.goal) as progress,
    ):

        def attempt(checkpoint: Checkpoint | None) -> AnyRun:
            with progress.status(f"starting {rollouts.num_env_runners} env runners"):
                run = make_run(stop.interrupting)
            with attended(run), run.watching():
                if checkpoint is not None:
                    run.restore(checkpoint)
                else:
                    run.forget_after(-1)
                    first = run.begin(progress)
                    if first is not None:
                        progress.update(run.record(first))
                reached = {"iteration": run.iteration, "env_steps": run.env_steps}
                progress.resume_from(reached[display.goal.key])
                run.train(stop, progress)
                if run.finished:
                    run.finish(progress)
            return run

        with connect_ray(config.ray, rollouts.num_env_runners + learner.num_learners, progress):
            run = recover(attempt, checkpoint, store, learner.max_restarts, progress)
        with progress.status(display.measuring):
            return run.conclude(stopped=stop.received and not run.finished)
