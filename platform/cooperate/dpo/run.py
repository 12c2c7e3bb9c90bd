"""The job of `dialogue/dpo`: prepare, train one generator, measure its best checkpoint.

    preparation (shared by all trials of a sweep) ─► one trial ─► checkpoints ─► evaluation

It learns in this process, on the GPU where there is one; `parley tune` runs the same trial many
times in Ray's workers.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from parley.platform.cooperate.dpo.preparation import Preparation, prepare
from parley.platform.cooperate.dpo.trial import SCORE, run_trial
from parley.platform.cooperate.evaluation.cooperation import CooperationResult, evaluate_generator
from parley.platform.cooperate.evaluation.generator_checkpoint import (
    GENERATOR,
    REFERENCE,
    device_of,
)
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.engine.sweeps.trial_ending import Save, TrialEnding
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.language.resolving import load_named_model
from parley.platform.maxims.loading import load_detector
from parley.platform.records import Result
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore, open_checkpoint
from parley.platform.runs.result import conclude_run, newest_figures
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import StopOverdue, StopSignal
from parley.platform.terminal.progress import Column, Progress
from parley.policies.dialogue.loading import load_language_model

COLUMNS = (
    Column("iteration", "step"),
    Column("loss", "DPO loss", ".3f"),
    Column("chosen_nll", "chosen NLL", ".3f"),
    Column("preference_accuracy", "unseen acc", ".3f"),
    Column("chosen_perplexity_ratio", "chosen ppl ratio", ".3f"),
    Column("kl", "KL", ".3f"),
    Column("cooperative_rate", "coop.", ".3f"),
    Column("score", "score", ".3f"),
    Column("pairs_per_s", "pairs/s", ",.1f"),
)


def run_dpo(config: DialogueDPOConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Train one generator; measure the checkpoint with the best score on held-out conversations.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        InputError: data, model or checkpoint cannot be used.
        NonFiniteLossError: training diverged; the checkpoints so far stand.
    """
    with (
        limit_threads(config.learner.num_threads),
        StopSignal(config.checkpoint.stop_grace_s) as stop,
    ):
        with Progress(COLUMNS) as progress:
            shared = prepare(config, run_folder.path, progress, stop)
            run = DPORun(config, run_folder, shared, stop, progress, resume)
            run.train()
        if stop.received:
            run.conclude_stopped()
        with stop.at_once(), Progress(()) as progress:
            return run.conclude(progress)


class DPORun:
    """One trial whose measures and checkpoints go into a run folder.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        shared: what was prepared.
        stop: ends training after the step in progress.
        progress: shows the measures.
        resume: go on from the newest sound checkpoint.
    """

    def __init__(
        self,
        config: DialogueDPOConfig,
        run_folder: RunFolder,
        shared: Preparation,
        stop: StopSignal,
        progress: Progress,
        resume: bool,
    ) -> None:
        self.config = config
        self.run_folder = run_folder
        self.shared = shared
        self.stop = stop
        self.progress = progress
        self.store = CheckpointStore(run_folder.checkpoints, config.checkpoint.keep)
        self._begin_s = time.monotonic()
        self.checkpoint = self.store.find("last") if resume else None
        if resume:
            step = 0 if self.checkpoint is None else _step_of(self.checkpoint)
            run_folder.drop_metrics_after(step)

    def train(self) -> None:
        """Run the trial from where it stands to its end, or to the stop signal.

        What is in progress when the signal's grace period ends is given up.
        """
        restore = None if self.checkpoint is None else self.checkpoint.path
        ending = TrialEnding(lambda: self.stop.received, self._save, self.stop.interrupting)
        folder = self.run_folder.path
        try:
            run_trial(self.config, self.shared, folder, self._report, restore, ending)
        except StopOverdue:
            self.progress.say("the step in progress was given up; the last checkpoint stands")

    def conclude(self, progress: Progress) -> Result:
        """Measure the best checkpoint on the held-out conversations, and write the result."""
        checkpoint = self.store.find("best")
        assert checkpoint is not None, "a finished run has saved"
        with progress.status("measuring the best checkpoint"):
            outcome = measure_generator(self.config, self.shared, checkpoint, progress.say)
        outcome.write(self.run_folder.path, f"{checkpoint.path.name}, held-out pairs of the run")
        return conclude_run(self.run_folder, "done", self._seconds(), outcome.metrics, checkpoint)

    def conclude_stopped(self) -> NoReturn:
        """Write the result of a run that may go on; the last measure has been saved.

        Raises:
            KeyboardInterrupt: always; that is what stopped it.
        """
        checkpoint = self.store.find("best") or self.store.find("last")
        metrics = newest_figures(self.run_folder)
        conclude_run(self.run_folder, "stopped", self._seconds(), metrics, checkpoint)
        raise KeyboardInterrupt

    def _report(self, row: Mapping[str, object], save: Callable[[Path], None] | None) -> bool:
        """Keep a measure of the trial and its checkpoint; whether to go on."""
        assert save is not None, "a trial on a run folder can always save"
        with self.stop.sparing():
            self.run_folder.append_metrics(row)
            score, best = float(str(row[SCORE])), self.store.best_score()
            is_best = best is None or score > best
            store_generator(self.store, self.run_folder.path, row, save, score if is_best else None)
            self.progress.update(row)
        return not self.stop.received

    def _save(self, step: int, save: Save) -> None:
        """Keep the trial between two measures."""
        store_generator(self.store, self.run_folder.path, {"iteration": step}, save, None)

    def _seconds(self) -> float:
        return time.monotonic() - self._begin_s


def store_generator(
    store: CheckpointStore,
    run_path: Path,
    row: Mapping[str, object],
    save: Save,
    best_score: float | None,
) -> Checkpoint:
    """Save a trial's checkpoint in a run, with the reference next to the generator.

    The reference is the same in all checkpoints: they hold hard links where the disk can.
    """
    with TemporaryDirectory(dir=run_path, prefix=".saving-") as folder:
        save(Path(folder) / "trial")
        trial = open_checkpoint(Path(folder) / "trial")

        def copy_policies(target: Path) -> None:
            shutil.copytree(trial.policy_folders[GENERATOR], target / GENERATOR)
            shutil.copytree(run_path / REFERENCE, target / REFERENCE, copy_function=_link)

        return store.save(
            int(str(row["iteration"])),
            copy_policies,
            trial.read_policy_facts(),
            trial.read_trainer_state(),
            best_score,
        )


def measure_generator(
    config: DialogueDPOConfig,
    shared: Preparation,
    checkpoint: Checkpoint,
    say: Callable[[str], None],
) -> CooperationResult:
    """The figures of a checkpoint on the held-out conversations, and all it is compared with."""
    device = device_of(config)
    reference = shared.build_reference()
    reference.model.to(device)  # type: ignore[arg-type]
    return evaluate_generator(
        load_language_model(checkpoint.policy_folders[GENERATOR], device),
        reference,
        load_named_model(config.model, say, device) if config.supervised.num_epochs else None,
        shared.heldout_pairs,
        load_detector(config.judges.detector, "detector", say),
        shared.judge,
        config,
        config.evaluation.final_prompts,
        config.evaluation.seed,
        say,
    )


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _step_of(checkpoint: Checkpoint) -> int:
    return int(checkpoint.path.name.rpartition("_")[2])
