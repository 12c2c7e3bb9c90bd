"""The job of adversarial self-play: RLlib trains, this module measures, shows, saves and resumes.

The loop reads as data flows: iterate, measure, keep, evaluate, record, save.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray

from parley.envs.dialogue.reward import SurpriseScale
from parley.platform.cluster.connection import connect_ray
from parley.platform.distort.algorithm import (
    DialogueAlgorithm,
    SelfPlaySetup,
    by_number,
)
from parley.platform.distort.anchoring import check_anchor
from parley.platform.distort.calibration import measure_scale
from parley.platform.distort.evaluation import evaluation_openers, measure_replies, with_start
from parley.platform.distort.figures import IterationFigures
from parley.platform.distort.player import (
    CALIBRATION,
    EVALUATION,
    FaultyModelError,
)
from parley.platform.distort.record import PlayedDialogue
from parley.platform.distort.rllib_config import build_dialogue_config
from parley.platform.distort.runner import DialogueRunnerSettings, ModelRef
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.task import DialogueTask, make_dialogue_task
from parley.platform.distort.viewing.transcribing import FaultyDialogueError, keep_fault, transcribe
from parley.platform.engine.rllib.recovery import (
    attended,
    iterate_until_stopped,
    recover,
)
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore
from parley.platform.runs.kinds import kind_facts
from parley.platform.runs.pinned_inputs import read_inputs
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import Interrupting, StopOverdue, StopSignal
from parley.platform.runs.transcripts import (
    TRANSCRIPTS_FILE,
    Transcript,
    append_transcripts,
    drop_transcripts_after,
    format_transcript,
    title_of,
)
from parley.platform.terminal.progress import Column, Goal, Progress
from parley.platform.terminal.quiet import quiet_rllib
from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.loading import LanguageModel, save_language_model
from parley.policies.dialogue.parts import build_from_parts, take_apart
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


def run_distort(
    config: DialogueDistortConfig, run_folder: RunFolder, resume: bool
) -> dict[str, Any]:
    """Train to `stop.max_iterations` and measure on held-out openers.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        FaultyDialogueError: a model's logits are not finite numbers.
        InputError: a model cannot be had, or models, openers, rules and anchor do not fit.
    """
    if not resume:
        check_anchor(config, read_inputs(run_folder.path))
    checkpoint = CheckpointStore(run_folder.checkpoints).find("last") if resume else None
    task = make_dialogue_task(config, lambda line: print(line, flush=True))
    quiet_rllib()
    goal = Goal("iteration", config.stop.max_iterations)
    num_processes = config.rollouts.num_env_runners + config.learner.num_learners
    store = CheckpointStore(run_folder.checkpoints)
    with (
        StopSignal(config.checkpoint.stop_grace_s) as stop,
        Progress(COLUMNS, goal) as progress,
        connect_ray(config.ray, num_processes, progress),
    ):

        def attempt(checkpoint: Checkpoint | None) -> dict[str, Any]:
            with progress.status(f"starting {config.rollouts.num_env_runners} env runners"):
                run = DistortRun(config, run_folder, task, stop.interrupting)
            with attended(run):
                try:
                    if checkpoint is not None:
                        run.restore(checkpoint)
                    else:
                        with progress.status("measuring the models before training"):
                            run.begin()
                    progress.resume_from(run.iteration)
                    iterate_until_stopped(run, stop, progress, lambda: run.show(progress))
                    with progress.status("measuring the policies"):
                        return run.conclude(stopped=not run.finished)
                except FaultyModelError as error:
                    raise run.keep_fault(error) from error

        return recover(attempt, checkpoint, store, config.learner.max_restarts, progress)


class DistortRun:
    """The state of one run between iterations.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        task: models, openers and rules.
        interrupting: makes the block in which an iteration may be given up.
    """

    def __init__(
        self,
        config: DialogueDistortConfig,
        run_folder: RunFolder,
        task: DialogueTask,
        interrupting: Interrupting = nullcontext,
    ) -> None:
        self.config = config
        self.interrupting = interrupting
        self.run_folder = run_folder
        self.task = task
        self.store = CheckpointStore(run_folder.checkpoints, config.checkpoint.keep)
        self.seats = config.trained_seats
        self.figures = IterationFigures(task, self.seats)
        self.iteration = 0
        self.seconds = 0.0
        self.start: dict[str, Any] = {}
        """Figures of the starting policies on the held-out openers."""
        self.evaluated: dict[str, Any] = {}
        """Those of the newest evaluation."""
        self._evaluated_at = -1
        self._saved_at = -1
        voices = _make_voices(task)
        runner = DialogueRunnerSettings(
            dialogue=task.settings,
            sampling=task.sampling,
            num_rows=config.rollouts.num_envs_per_env_runner,
            beginning=task.beginning,
        )
        architectures = {seat: voices[seat].architecture for seat in config.trained_seats}
        self.algorithm = cast(
            "DialogueAlgorithm",
            build_dialogue_config(config, runner, architectures).build_algo(),
        )
        self.algorithm.copy_updates_over_s = config.checkpoint.stop_grace_s / 2
        self.algorithm.assign(
            SelfPlaySetup(
                frozen={seat: v for seat, v in voices.items() if seat not in self.seats},
                judge=voices[config.reward.judge],
                starts={seat: voices[seat] for seat in self.seats},
                openers=task.train_openers,
                beginning=task.beginning,
            )
        )
        self.algorithm.load_weights(
            {seat: DialogueActorCritic(task.models[seat].model).state_dict() for seat in self.seats}
        )

    @property
    def finished(self) -> bool:
        """Whether the run has all its iterations."""
        return self.iteration >= self.config.stop.max_iterations

    def begin(self) -> None:
        """Measure the scale of surprise and the starting policies."""
        self.run_folder.drop_metrics_after(-1)
        drop_transcripts_after(self.run_folder.path / TRANSCRIPTS_FILE, -1)
        started = time.perf_counter()
        with self.interrupting():
            if self.config.reward.random_baseline:
                self.algorithm.scale = self._calibrate()
            self.start = self._evaluate()
        self.seconds += time.perf_counter() - started
        self.run_folder.append_metrics(
            {"iteration": 0, "seconds": self.seconds, **_as_evaluation(self.start)}
        )

    def iterate(self) -> dict[str, Any]:
        """One iteration: play, learn, measure, perhaps evaluate and save; its row of metrics."""
        started = time.perf_counter()
        with self.interrupting():
            losses = self.algorithm.train()["learners"]
        self.iteration += 1
        figures = self.figures.measure(self.algorithm.record, losses, self.iteration)
        self._keep_transcripts()
        evaluation = self._evaluate_if_due()
        self.seconds += time.perf_counter() - started
        row = {
            "iteration": self.iteration,
            "env_steps": self.algorithm.num_env_steps,
            "seconds": self.seconds,
            **figures,
            **evaluation,
        }
        # Before the checkpoint: resuming drops rows that are ahead of it, but cannot make them up.
        self.run_folder.append_metrics(row)
        if self.iteration % self.config.checkpoint.interval_iterations == 0:
            self.save()
        return row

    def show(self, progress: Progress) -> None:
        """Print a dialogue of the iteration where one is due."""
        interval = self.config.transcripts.show_interval
        if interval and self.iteration % interval == 0:
            transcript = self._transcribe(self.algorithm.record.dialogues[:1])[0]
            progress.say(f"{title_of(transcript)}\n{format_transcript(transcript)}\n")

    def save(self) -> None:
        """Write a checkpoint of this iteration, unless there is one."""
        if self._saved_at == self.iteration:
            return
        self.store.save(self.iteration, self._save_policies, self._facts(), self._state())
        self._saved_at = self.iteration

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint was written."""
        state = checkpoint.read_trainer_state()
        self.iteration = self._saved_at = state["iteration"]
        self.seconds = state["seconds"]
        self.start = state["start"]
        self.evaluated, self._evaluated_at = state["evaluated"], state["evaluated_at"]
        self.figures.restore(state["trackers"])
        scale = state["scale"]
        self.algorithm.scale = None if scale is None else SurpriseScale(**scale)
        self.algorithm.restore_training(state["algorithm"])
        self.run_folder.drop_metrics_after(self.iteration)
        drop_transcripts_after(self.run_folder.path / TRANSCRIPTS_FILE, self.iteration)

    def conclude(self, stopped: bool) -> dict[str, Any]:
        """Measure the policies on the held-out openers and write the result."""
        if not stopped and self._evaluated_at != self.iteration:
            self._evaluate()
        rows = self.run_folder.read_metrics()
        checkpoint = self.store.find("last")
        metrics = {
            **with_start(self.start, self.evaluated or self.start),
            "episodes": self.config.evaluation.episodes,
            "tokens_per_s": _median(rows, "tokens_per_s"),
            "iterations": self.iteration,
            "env_steps": self.algorithm.num_env_steps,
        }
        result = {
            "status": "stopped" if stopped else "done",
            "seconds": self.seconds,
            "metrics": metrics,
            "checkpoint": (
                None
                if checkpoint is None
                else str(checkpoint.path.relative_to(self.run_folder.path))
            ),
            "models": {seat: model.source for seat, model in self.task.models.items()},
        }
        self.run_folder.write_result(result)
        if stopped:
            raise KeyboardInterrupt
        return result

    def keep_fault(self, error: FaultyModelError) -> FaultyDialogueError:
        """Write down the dialogues in which a model failed; the error that ends the run."""
        return keep_fault(error.fault, self.task, self.iteration + 1, self.run_folder.path)

    def close(self) -> None:
        """Stop runners and learners."""
        self.algorithm.stop()

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
        return measure_scale(
            dialogues,
            self.seats,
            speaker,
            self.task.settings,
            config.reward.ceiling_quantile,
            config.seed,
        )

    def _evaluate(self) -> dict[str, Any]:
        evaluation = self.config.evaluation
        openers = evaluation_openers(self.task, evaluation.episodes)
        dialogues = by_number(self.algorithm.play(EVALUATION, evaluation.seed, openers))
        self.evaluated = measure_replies(dialogues, self.seats)
        self._evaluated_at = self.iteration
        return self.evaluated

    def _evaluate_if_due(self) -> dict[str, Any]:
        interval = self.config.evaluation.interval_iterations
        if not (interval and self.iteration % interval == 0):
            return {}
        try:
            with self.interrupting():
                return _as_evaluation(self._evaluate())
        except StopOverdue:
            return {}

    def _keep_transcripts(self) -> None:
        dialogues = self.algorithm.record.dialogues[:: self.config.transcripts.keep_every]
        append_transcripts(self.run_folder.path / TRANSCRIPTS_FILE, self._transcribe(dialogues))

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

    def _save_policies(self, folder: Path) -> None:
        weights = self.algorithm.policy_weights()
        for seat in self.seats:
            source = self.task.models[seat]
            architecture = take_apart(source.model).config
            policy = DialogueActorCritic(build_from_parts(architecture))
            policy.load_state_dict(weights[seat])
            saved = LanguageModel(
                cast("Any", policy.language_model),
                source.tokenizer,
                source.end_token,
                source.context,
                source.source,
            )
            save_language_model(saved, folder / seat)

    def _facts(self) -> dict[str, Any]:
        return {
            **kind_facts(self.config),
            "seats": {
                seat: {"model": self.task.models[seat].source, "trained": seat in self.seats}
                for seat in self.config.seats
            },
            "sampling": self.config.sampling.model_dump(),
            "dialogue": self.config.dialogue.model_dump(),
            "experiment": self.config.model_dump(exclude_none=True),
            "iteration": self.iteration,
        }

    def _state(self) -> dict[str, Any]:
        scale = self.algorithm.scale
        return {
            "iteration": self.iteration,
            "seconds": self.seconds,
            "start": self.start,
            "evaluated": self.evaluated,
            "evaluated_at": self._evaluated_at,
            "trackers": self.figures.state(),
            "scale": None if scale is None else asdict(scale),
            "algorithm": self.algorithm.training_state(),
        }


def _make_voices(task: DialogueTask) -> dict[str, ModelRef]:
    """Each model once in Ray's object store, whatever number of seats it has."""
    voices: dict[int, ModelRef] = {}
    for model in task.models.values():
        if id(model.model) not in voices:
            parts = take_apart(model.model)
            weights = ray.put({name: tensor.numpy() for name, tensor in parts.state.items()})
            voices[id(model.model)] = ModelRef(model.source, parts.config, weights)
    return {seat: voices[id(model.model)] for seat, model in task.models.items()}


def _as_evaluation(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {f"eval_{name}": value for name, value in figures.items() if not name.endswith("_ci95")}


def _median(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if isinstance(row.get(name), float)]
    return float(np.median(values)) if values else None
