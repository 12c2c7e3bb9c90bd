"""Weights & Biases, through `setup_wandb`, Ray Train's own entry to it.

Tune's callback keeps a Ray actor for each trial: it would need a cluster in runs that have none,
and lose what it has not yet sent when a local cluster ends. It cannot resume a run either.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ray.air.integrations.wandb import setup_wandb

from parley.platform.monitoring.tracked_series import STEP_KEY, TrackedSeries
from parley.platform.records import TuneResult
from parley.platform.settings.sections import ExperimentConfig


class WandbSeries:
    """A run of W&B for each series.

    Args:
        config: the experiment.
        folder: of the run; W&B's files lie below it, in `wandb/`.
    """

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        self._settings = config.tracking.wandb
        self._folder = folder
        self._runs: dict[TrackedSeries, Any] = {}
        os.environ.setdefault("WANDB_SILENT", "true")
        if self._settings.mode == "offline":
            os.environ["WANDB_MODE"] = "offline"

    def log_trial_start(self, trial: TrackedSeries) -> None:
        """Begin a run, or resume the one of this id."""
        self._runs[trial] = setup_wandb(
            trial.config,
            trial_id=trial.trial_id,
            trial_name=trial.name,
            project=self._settings.project,
            group=trial.experiment_dir_name,
            entity=self._settings.entity or None,
            dir=str(self._folder),
            resume="allow",
            reinit="create_new",
        )

    def log_trial_result(self, iteration: int, trial: TrackedSeries, result: TuneResult) -> None:
        """A row; W&B drops steps that it has."""
        figures = {key: value for key, value in result.items() if key != STEP_KEY}
        self._runs[trial].log(figures, step=iteration)

    def log_trial_end(self, trial: TrackedSeries, failed: bool = False) -> None:
        """Send what is left."""
        self._runs.pop(trial).finish(exit_code=int(failed))
