"""Trackers of experiments, through Ray's own callbacks: TensorBoard, W&B, MLflow, Aim.

Tune hands its callbacks what a trial reports to it. parley's rows say more, count on where a
resumed run went on, and come from runs without Tune too, so these same callbacks are driven by the
rows of `metrics.jsonl`: a run is one series, a sweep has one for each trial.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from parley.platform.monitoring.tracked_series import STEP_KEY, TrackedSeries, read_tracking_id
from parley.platform.records import TuneResult
from parley.platform.runs.announcements import Announcement, RowAppended
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.versions import installing_call
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import ExperimentConfig

TENSORBOARD_DIR = "tensorboard"


class SeriesLogger(Protocol):
    """The part of `ray.tune.logger.LoggerCallback` that is used here."""

    def log_trial_start(self, trial: Any) -> None:
        """A series begins."""

    def log_trial_result(self, iteration: int, trial: Any, result: TuneResult) -> None:
        """A row of a series."""

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """A series ends."""


def check_trackers(config: ExperimentConfig) -> None:
    """Make sure, before anything starts, that the chosen trackers are installed.

    Raises:
        ConfigError: one is not.
    """
    for name in config.tracking.callbacks:
        found = find_spec(name)
        if found is None or found.origin is None:  # a mere folder of that name is no package
            raise ConfigError(
                f"tracking.callbacks names {name}, but it is not installed; "
                f"{installing_call(name)}, or take it out of the list"
            )


class Tracker:
    """Gives the rows of a run to one program; a listener.

    Args:
        run_folder: of the run.
        make_logger: makes the callback, when the first row comes.
        name: for messages.
        folder: written by the callback; made anew from `metrics.jsonl` where rows were made anew.
            Without one, rows that were told before are not told again.
        replays: whether a resumed run begins with the rows of its beginning.
    """

    def __init__(
        self,
        run_folder: RunFolder,
        make_logger: Callable[[], SeriesLogger],
        name: str,
        folder: Path | None = None,
        replays: bool = True,
    ) -> None:
        self.__qualname__ = f"tracking by {name}"
        self._run_folder = run_folder
        self._make_logger = make_logger
        self._folder = folder
        self._replays = replays
        self._logger: SeriesLogger | None = None
        self._series: dict[str, TrackedSeries] = {}

    def __call__(self, announcement: Announcement) -> None:
        """Take in a row."""
        if not isinstance(announcement, RowAppended) or announcement.run != self._run_folder.path:
            return
        row = announcement.row
        known = self._series.get(TrackedSeries.name_of(row))
        is_anew = known is not None and known.is_before(row)
        if self._logger is None or (is_anew and self._folder is not None):
            self._begin()
            if self._replays:
                for earlier in self._run_folder.read_metrics()[:-1]:
                    self._tell(earlier)
        elif is_anew:
            return
        self._tell(row)

    def close(self, failed: bool) -> None:
        """End all series."""
        if self._logger is not None:
            for series in self._series.values():
                self._logger.log_trial_end(series, failed)
        self._logger = None
        self._series.clear()

    def _begin(self) -> None:
        self.close(failed=False)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._logger = self._make_logger()

    def _tell(self, row: Mapping[str, object]) -> None:
        assert self._logger is not None, "the first row makes it"
        name = TrackedSeries.name_of(row)
        if name not in self._series:
            self._series[name] = TrackedSeries.begin(self._run_folder, row, self._folder)
            self._logger.log_trial_start(self._series[name])
        series = self._series[name]
        step = series.advance(row)
        self._logger.log_trial_result(step, series, {**numbers_of(row), STEP_KEY: step})


def numbers_of(row: Mapping[str, object], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a row, those of its tables under `table/name`; no text, no lists."""
    numbers: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            numbers |= numbers_of(value, f"{prefix}{key}/")
        elif (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ):
            numbers[prefix + key] = value
    return numbers


def make_trackers(config: ExperimentConfig, run_folder: RunFolder) -> list[Tracker]:
    """The trackers that the settings ask for; they import their libraries with the first row."""
    trackers = []
    if config.tracking.tensorboard:
        folder = run_folder.path / TENSORBOARD_DIR
        trackers.append(Tracker(run_folder, _make_tensorboard, "TensorBoard", folder))
    makers: dict[str, Callable[[ExperimentConfig, RunFolder], SeriesLogger]] = {
        "wandb": _make_wandb,
        "mlflow": _make_mlflow,
        "aim": _make_aim,
    }
    for name in config.tracking.callbacks:

        def make(maker: Any = makers[name]) -> SeriesLogger:
            return maker(config, run_folder)

        # W&B goes on in the run that it knows; the others begin another.
        trackers.append(Tracker(run_folder, make, name, replays=name != "wandb"))
    return trackers


def _make_tensorboard() -> SeriesLogger:
    from ray.tune.logger import TBXLoggerCallback

    return TBXLoggerCallback()


def _make_mlflow(config: ExperimentConfig, run_folder: RunFolder) -> SeriesLogger:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    settings = config.tracking.mlflow
    callback = MLflowLoggerCallback(
        tracking_uri=settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"),
        experiment_name=settings.experiment_name or config.experiment,
        tags={"parley_run": read_tracking_id(run_folder.path)},
    )
    callback.setup()
    return callback


def _make_aim(config: ExperimentConfig, run_folder: RunFolder) -> SeriesLogger:
    from ray.tune.logger.aim import AimLoggerCallback

    settings = config.tracking.aim
    repo = settings.repo or str(run_folder.path)
    return AimLoggerCallback(repo, settings.experiment_name or config.experiment)


def _make_wandb(config: ExperimentConfig, run_folder: RunFolder) -> SeriesLogger:
    from parley.platform.monitoring.wandb_series import WandbSeries

    return WandbSeries(config, run_folder.path)
