"""What DPO brings to a sweep: its preparation, its trial, and what becomes of the best one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from parley.platform.cluster.capacity import CPU
from parley.platform.cluster.devices import GPU, gpus_of_each
from parley.platform.cooperate.dpo.preparation import prepare
from parley.platform.cooperate.dpo.run import measure_generator, store_generator
from parley.platform.cooperate.dpo.trial import run_trial
from parley.platform.cooperate.evaluation.heldout_outcome import OUTCOME, HeldoutOutcome
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.engine.sweeps.resources import Bundle
from parley.platform.engine.sweeps.run import SweepParts
from parley.platform.engine.sweeps.trial_folder import SavedMeasure
from parley.platform.records import Metrics
from parley.platform.report.choice import Gain
from parley.platform.runs.checkpoints import CheckpointStore, open_checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.terminal.progress import Progress


def conclude_dpo(
    config: DialogueDPOConfig,
    run_folder: RunFolder,
    shared: Any,
    best: SavedMeasure,
    progress: Progress,
) -> tuple[str, Metrics]:
    """Export the best checkpoint of a sweep of DPO, and measure it as a training run does."""
    trial = open_checkpoint(best.state)

    def copy_trial(target: Path) -> None:
        shutil.copytree(trial.path, target, dirs_exist_ok=True)

    store = CheckpointStore(run_folder.checkpoints, config.checkpoint.keep)
    checkpoint = store_generator(
        store, run_folder.path, best.row, copy_trial, float(best.row["score"])
    )
    outcome = measure_generator(config, shared, checkpoint, progress.say)
    outcome.write(run_folder.path, f"{checkpoint.path.name}, held-out pairs of the sweep")
    return str(checkpoint.path.relative_to(run_folder.path)), dict(outcome.metrics)


def compare_dpo(config: DialogueDPOConfig, best: SavedMeasure, other: SavedMeasure) -> Gain | None:
    """By how much the score of one checkpoint is higher, on the same held-out conversations.

    None where a checkpoint does not say what it reached on each: earlier versions' do not.
    """
    outcomes = []
    for saved in (best, other):
        stored = open_checkpoint(saved.state).read_policy_facts().get(OUTCOME)
        if not stored:
            return None
        outcomes.append(HeldoutOutcome.from_dict(stored))
    gain = outcomes[0].gain_over(outcomes[1], config.evaluation.accuracy_weight)
    return None if gain is None else Gain(gain.value, gain.interval, gain.count)


def list_bundles(config: DialogueDPOConfig) -> list[Bundle]:
    """A trial is one process, with a GPU where there is one and the settings do not refuse it."""
    gpus = gpus_of_each(config.learner.num_gpus_per_learner, 1)
    return [{CPU: config.sweep.cpus_per_trial, GPU: gpus}]


DPO_PARTS = SweepParts(
    prepare=prepare,
    trial=run_trial,
    conclude=conclude_dpo,
    bundles=list_bundles,
    compare=compare_dpo,
)
