"""A sweep: trials side by side on the cluster through Ray Tune, as far as they are unfinished.

The trial itself is given by the caller, as is what all trials share: this module knows only how
trials are drawn, run, watched and taken up again. Tune's own snapshots are not used for that (see
docs/decisions/0014-sweeps.md) and go when the sweep ends.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune

from parley.platform.engine.sweeps.record import TrialRecord, read_records
from parley.platform.engine.sweeps.resources import Bundle, place_trial
from parley.platform.engine.sweeps.schedulers import build_scheduler
from parley.platform.engine.sweeps.space import TrialPlan, plan_trials
from parley.platform.engine.sweeps.trial_folder import TRIALS_DIR, TrialFolder
from parley.platform.engine.sweeps.watch import SweepHooks, SweepWatch
from parley.platform.engine.sweeps.worker import PLAN, Trial, run_in_worker, tune_config
from parley.platform.engine.worker_channel import WorkerChannel
from parley.platform.records import Settings, TuneResult
from parley.platform.settings.sweep import SweepableConfig

TUNE_DIR = ".tune"
"""Tune's own files, below the trials' folder; nothing reads them after the sweep."""
QUIET_TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}


class Stopper(tune.Stopper):
    """Tune's question whether to end the sweep, passed on."""

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping

    def __reduce__(self) -> tuple[Any, ...]:
        # As in watch.py: the snapshot that holds it is read by nothing.
        return Stopper, (bool,)

    def __call__(self, trial_id: str, result: TuneResult) -> bool:
        """Whether to end this trial."""
        return self._is_stopping()

    def stop_all(self) -> bool:
        """Whether to end all of them."""
        return self._is_stopping()


def load_records(config: SweepableConfig, run_folder: Path, resume: bool) -> list[TrialRecord]:
    """The trials of a sweep before it runs: those that were begun, else those that are planned.

    Raises:
        ConfigError: the search space cannot be used.
    """
    trials = run_folder / TRIALS_DIR
    keep = config.checkpoint.keep
    plans = plan_trials(config)
    begun = read_records(run_folder, trials, keep) if resume else []
    return begun or [TrialRecord(plan, TrialFolder(trials / plan.name, keep)) for plan in plans]


def has_work(config: SweepableConfig, records: list[TrialRecord]) -> bool:
    """Whether any trial is unfinished, or yet to be drawn."""
    is_drawn = config.sweep.search == "optuna"
    undrawn = is_drawn and len(records) < config.sweep.num_samples
    return undrawn or any(not record.is_finished for record in records)


def run_trials(
    config: SweepableConfig,
    run_folder: Path,
    records: list[TrialRecord],
    trial: Trial,
    bundles: Sequence[Bundle],
    shared: object,
    hooks: SweepHooks,
) -> list[TrialRecord]:
    """Run what is unfinished of a sweep on the connected cluster; give all its trials.

    Args:
        config: the sweep's settings.
        run_folder: of the sweep; `trials.json` and `trials/` are written below it.
        records: from `load_records`.
        trial: runs one trial in a worker.
        bundles: what the processes of a trial take.
        shared: given to every trial, through the object store.
        hooks: the caller's.

    Raises:
        ConfigError: the cluster has too little for one trial.
    """
    trials = run_folder.resolve() / TRIALS_DIR
    shutil.rmtree(trials / TUNE_DIR, ignore_errors=True)
    os.environ.update(QUIET_TUNE)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    known = {record.plan.number: record for record in records}
    with _open_channel() as channel:

        def is_stopping() -> bool:
            # Before Tune stops the trials: it waits for them, and they save.
            if hooks.is_stopping():
                ray.get(channel.request_stop.remote())
            return hooks.is_stopping()

        watch = SweepWatch(known, run_folder, config.checkpoint.keep, hooks, channel)
        place = ray.put(shared)
        worker = tune.with_parameters(
            run_in_worker, trial=trial, base=config, shared=[place], folder=trials, channel=channel
        )
        tuner = tune.Tuner(
            tune.with_resources(worker, place_trial(bundles)),
            param_space=_param_space(config, records),
            tune_config=_tune_config(config, records),
            run_config=tune.RunConfig(
                name=TUNE_DIR,
                storage_path=str(trials),
                callbacks=[watch],
                failure_config=tune.FailureConfig(max_failures=config.sweep.max_failures),
                stop=Stopper(is_stopping),
                verbose=0,
            ),
        )
        tuner.fit()
    shutil.rmtree(trials / TUNE_DIR, ignore_errors=True)
    return [known[number] for number in sorted(known)]


@contextmanager
def _open_channel() -> Iterator[Any]:
    """The handle of a `WorkerChannel`, which ends with the block, whoever keeps its traceback."""
    channel: Any = ray.remote(num_cpus=0)(WorkerChannel).remote()
    try:
        yield channel
    finally:
        ray.kill(channel)


def _tune_config(config: SweepableConfig, records: list[TrialRecord]) -> tune.TuneConfig:
    search = None
    num_samples = 1
    if config.sweep.search == "optuna":
        # Imported here, since without the extra there is no such module to import.
        from parley.platform.engine.sweeps.search import OptunaDraws

        search = OptunaDraws(config, records)
        num_samples = -1
    return tune.TuneConfig(
        search_alg=search,
        scheduler=build_scheduler(config, records),
        num_samples=num_samples,
        max_concurrent_trials=config.sweep.max_concurrent or None,
        reuse_actors=True,
    )


def _param_space(config: SweepableConfig, records: list[TrialRecord]) -> Settings:
    """All that is planned as one grid: Tune draws nothing that was not checked before."""
    if config.sweep.search == "optuna":
        return {}
    waiting: list[TrialPlan] = [record.plan for record in records if not record.is_finished]
    return {PLAN: tune.grid_search([tune_config(plan) for plan in waiting])}
