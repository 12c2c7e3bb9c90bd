"""The run of adversarial self-play: measures the seats, shows and keeps what they say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from parley.envs.dialogue.reward import SurpriseScale
from parley.platform.distort.algorithm import DialogueAlgorithm, by_number
from parley.platform.distort.anchoring import check_anchor
from parley.platform.distort.calibration import measure_scale
from parley.platform.distort.evaluation import evaluation_openers, measure_replies, with_start
from parley.platform.distort.figures import IterationFigures
from parley.platform.distort.player import CALIBRATION, EVALUATION, FaultyModelError
from parley.platform.distort.record import PlayedDialogue
from parley.platform.distort.rllib_config import start_algorithm
from parley.platform.distort.seat_checkpoint import save_seats, seat_facts
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.task import DialogueTask, make_dialogue_task
from parley.platform.distort.viewing.transcribing import keep_fault, transcribe
from parley.platform.engine.rllib.run import (
    Display,
    Iteration,
    PolicyRun,
    find_start,
    train_policies,
)
from parley.platform.records import Facts, Metrics, Result, Row, State
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.runs.pinned_inputs import read_inputs
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import Interrupting
from parley.platform.runs.transcripts import (
    TRANSCRIPTS_FILE,
    Transcript,
    append_transcripts,
    drop_transcripts_after,
    format_transcript,
    title_of,
)
from parley.platform.terminal.progress import Column, Goal, Progress
from parley.policies.dialogue.speaker import Speaker

COLUMNS = (
    Column("iteration", "iteration"),
    Column("tokens_per_s", "tokens/s"),
    Column("reward", "reward", ".3f"),
    Column("competitor_nll", "competitor NLL", ".3f"),
    Column("kl", "KL estimate", ".3f"),
    Column("distinct_2", "distinct-2", ".3f"),
    Column("reply_length", "length", ".1f"),
    Column("entropy", "entropy", ".2f"),
)


def run_distort(config: DialogueDistortConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Train to `stop.max_iterations` and measure on held-out openers.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        FaultyDialogueError: a model's logits are not finite numbers.
        InputError: a model cannot be had, or models, openers, rules and anchor do not fit.
    """
    if not resume:
        check_anchor(config, read_inputs(run_folder.path))
    checkpoint = find_start(run_folder, resume)
    task = make_dialogue_task(config, lambda line: print(line, flush=True))
    display = Display(COLUMNS, Goal("iteration", config.stop.max_iterations), "writing the result")

    def make_run(interrupting: Interrupting) -> DistortRun:
        return DistortRun(config, run_folder, task, interrupting)

    return train_policies(config, checkpoint, make_run, run_folder, display)


class DistortRun(PolicyRun):
    """A run whose policies talk.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        task: models, openers and rules.
        interrupting: makes the block in which an iteration may be given up.
    """

    algorithm: DialogueAlgorithm

    def __init__(
        self,
        config: DialogueDistortConfig,
        run_folder: RunFolder,
        task: DialogueTask,
        interrupting: Interrupting = nullcontext,
    ) -> None:
        self.config = config
        self.task = task
        self.seats = config.trained_seats
        self.transcripts = run_folder.path / TRANSCRIPTS_FILE
        self.figures = IterationFigures(task, self.seats)
        self.start: Metrics = {}
        """Figures of the starting policies on the held-out openers."""
        self.evaluated: Metrics = {}
        """Those of the newest evaluation."""
        self._evaluated_at = -1
        super().__init__(config, run_folder, start_algorithm(config, task), interrupting)
        self._saved_iteration = -1  # what is measured before the first one is worth saving

    @property
    def finished(self) -> bool:
        """Whether the run has all its iterations."""
        return self.iteration >= self.config.stop.max_iterations

    def begin(self, progress: Progress) -> Row | None:
        """Measure the scale of surprise and the starting policies."""
        started = time.perf_counter()
        with progress.status("measuring the models before training"), self.interrupting():
            if self.config.reward.random_baseline:
                self.algorithm.scale = self._calibrate()
            evaluation = self.evaluate()
            self.start = self.evaluated
        self.seconds += time.perf_counter() - started
        self.run_folder.append_metrics({"iteration": 0, "seconds": self.seconds, **evaluation})
        return None  # it has no checkpoint

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keep the dialogues in which a model failed.

        Raises:
            FaultyDialogueError: one did.
        """
        try:
            yield
        except FaultyModelError as error:
            path = self.run_folder.path
            raise keep_fault(error.fault, self.task, self.iteration + 1, path) from error

    def measure(self, iteration: Iteration) -> Row:
        """What was said and paid, and losses; some dialogues are kept."""
        algorithm = self.algorithm
        dialogues = algorithm.record.dialogues[:: self.config.transcripts.keep_every]
        append_transcripts(self.transcripts, self._transcribe(dialogues))
        return self.figures.measure(
            algorithm.record, algorithm.times, iteration.losses, self.iteration
        )

    def show(self, progress: Progress) -> None:
        """Print a dialogue of the iteration where one is due."""
        interval = self.config.transcripts.show_interval
        if interval and self.iteration % interval == 0:
            transcript = self._transcribe(self.algorithm.record.dialogues[:1])[0]
            progress.say(f"{title_of(transcript)}\n{format_transcript(transcript)}\n")

    def evaluate_if_due(self) -> Row:
        """Dialogues on the held-out openers, after so many iterations."""
        interval = self.config.evaluation.interval_iterations
        return self.evaluate() if interval and self.iteration % interval == 0 else {}

    def evaluate(self) -> Row:
        """Dialogues on the held-out openers."""
        evaluation = self.config.evaluation
        openers = evaluation_openers(self.task, evaluation.episodes)
        dialogues = by_number(self.algorithm.play(EVALUATION, evaluation.seed, openers))
        self.evaluated = measure_replies(dialogues, self.seats)
        self._evaluated_at = self.iteration
        named = self.evaluated.items()
        return {f"eval_{name}": value for name, value in named if not name.endswith("_ci95")}

    def finish(self, progress: Progress) -> None:
        """Measure the policies of the end."""
        if self._evaluated_at != self.iteration:
            with progress.status("measuring the policies"):
                self.evaluate()

    def measure_end(self, checkpoint: Checkpoint | None) -> Metrics:
        """The newest evaluation, compared with the beginning."""
        rows = self.run_folder.read_metrics()
        return {
            **with_start(self.start, self.evaluated or self.start),
            "episodes": self.config.evaluation.episodes,
            "tokens_per_s": _median(rows, "tokens_per_s"),
            "iterations": self.iteration,
            "env_steps": self.algorithm.num_env_steps,
        }

    def measure_stop(self) -> Metrics:
        """The same."""
        return self.measure_end(None)

    def details(self) -> Facts:
        """Which models sit where."""
        return {"models": {seat: model.source for seat, model in self.task.models.items()}}

    def forget_after(self, iteration: int) -> None:
        """Also the dialogues."""
        super().forget_after(iteration)
        drop_transcripts_after(self.transcripts, iteration)

    def facts(self) -> Facts:
        """See `seat_facts`."""
        return seat_facts(self.config, self.task, self.iteration)

    def save_policies(self, folder: Path) -> None:
        """The models of the trained seats."""
        save_seats(self.algorithm.policy_weights(), self.task, self.seats, folder)

    def own_state(self) -> State:
        """What was measured so far."""
        scale = self.algorithm.scale
        return {
            "start": self.start,
            "evaluated": self.evaluated,
            "evaluated_at": self._evaluated_at,
            "trackers": self.figures.state(),
            "scale": None if scale is None else asdict(scale),
        }

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take over an `own_state`."""
        self.start = state["start"]
        self.evaluated, self._evaluated_at = state["evaluated"], state["evaluated_at"]
        self.figures.restore(state["trackers"])
        scale = state["scale"]
        self.algorithm.scale = None if scale is None else SurpriseScale(**scale)

    def _calibrate(self) -> SurpriseScale:
        config = self.config
        openers = self.algorithm.draw_openers(range(config.reward.calibration_dialogues))
        dialogues = by_number(self.algorithm.play(CALIBRATION, config.seed, openers))
        judge = self.task.models[config.reward.judge]
        speaker = Speaker(
            judge.model,
            judge.end_token,
            config.rollouts.num_envs_per_env_runner,
            self.task.sampling,
            beginning=self.task.beginning,
        )
        quantile, rules = config.reward.ceiling_quantile, self.task.settings
        return measure_scale(dialogues, self.seats, speaker, rules, quantile, config.seed)

    def _transcribe(self, dialogues: list[PlayedDialogue]) -> list[Transcript]:
        opponent = self.algorithm.record.opponent or self.config.reward.judge
        rewards = {seat: self.algorithm.pay(dialogues, seat) for seat in self.seats}
        return [
            transcribe(
                dialogue,
                {seat: rows[index] for seat, rows in rewards.items()},
                self.task,
                self.iteration,
                opponent,
            )
            for index, dialogue in enumerate(dialogues)
        ]


def _median(rows: list[Row], name: str) -> float | None:
    values = [row[name] for row in rows if isinstance(row.get(name), float)]
    return float(np.median(values)) if values else None
