"""The best checkpoint of a sweep as one of the sweep's own run."""

from __future__ import annotations

import shutil
from pathlib import Path

from parley.platform.engine.sweeps.trial_folder import SavedMeasure
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore, open_checkpoint
from parley.platform.runs.run_folder import RunFolder


def export_best(run_folder: RunFolder, best: SavedMeasure) -> Checkpoint:
    """Copy a trial's checkpoint into `checkpoints/`, where it is the run's best and newest."""
    trial = open_checkpoint(best.state)

    def copy_policies(target: Path) -> None:
        for name, folder in trial.policy_folders.items():
            shutil.copytree(folder, target / name)

    return CheckpointStore(run_folder.checkpoints).save(
        int(best.row["iteration"]),
        copy_policies,
        trial.read_policy_facts(),
        trial.read_trainer_state(),
        float(best.row["score"]),
    )
