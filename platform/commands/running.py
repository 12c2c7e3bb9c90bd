"""What `parley train` and `parley tune` run: a row's function, watched, with its inputs kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, cast

from parley.platform.records import Result
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.experiments import EXPERIMENTS, find_experiment, load_named
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.terminal.interpreter import importing
from parley.platform.terminal.quiet import quiet_libraries

Job = Callable[[ExperimentConfig, RunFolder, bool], Result]
SWEEP_RUN = "parley.platform.engine.sweeps.run:run_sweep"


def train_experiment(config: ExperimentConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Run an experiment to its end; the run folder holds its result afterwards.

    Returns:
        The content of `result.json` that the job decided: status, seconds, metrics, checkpoint.

    Raises:
        KeyboardInterrupt: it was stopped; everything is saved.
    """
    quiet_libraries()
    row = find_experiment(config.workflow, config.algorithm)
    with importing():
        remote_errors = import_module("parley.platform.cluster.remote_errors")
        disk_faults = import_module("parley.platform.runs.disk_faults")
        beginning = import_module("parley.platform.cluster.early_start")
    with (
        disk_faults.explaining_full_disk(run_folder),
        remote_errors.explained(),
        beginning.early_start(config, partial(_keep_inputs, config, run_folder, resume)) as config,
    ):
        with importing():
            job = cast("Job", load_named(row.run))
            loss_faults = import_module("parley.platform.engine.torch.kept_loss_faults")
            monitoring = import_module("parley.platform.monitoring.monitored_run")
        with (
            monitoring.monitored(config, run_folder, row.starts_ray),
            loss_faults.keeping_faults(config, run_folder),
            remote_errors.explained(),  # a learner's fault as its own
        ):
            return job(config, run_folder, resume)


def tune_experiment(config: ExperimentConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Sweep an experiment; the run folder holds its result afterwards.

    Raises:
        ConfigError: the experiment has no settings to search, or they cannot be used.
        KeyboardInterrupt: it was stopped; everything is saved.
        SweepFailedError: no trial came to a result.
    """
    sweep = find_sweep(config)
    quiet_libraries()
    config = _keep_inputs(config, run_folder, resume)
    with importing():
        parts, run_sweep = load_named(sweep), cast("Callable[..., Any]", load_named(SWEEP_RUN))
        disk_faults = import_module("parley.platform.runs.disk_faults")
        monitoring = import_module("parley.platform.monitoring.run_monitor")
    with monitoring.run_monitored(config, run_folder), disk_faults.explaining_full_disk(run_folder):
        result: Result = run_sweep(config, run_folder, resume, parts)
    return result


def find_sweep(config: ExperimentConfig) -> str:
    """The sweep of an experiment's algorithm, by name.

    Raises:
        ConfigError: it has no settings to search.
    """
    sweep = find_experiment(config.workflow, config.algorithm).sweep
    if sweep is None:
        tunable = ", ".join(
            f"{kind[0]}/{kind[1]}" for kind, row in EXPERIMENTS.items() if row.sweep
        )
        raise ConfigError(
            f"{config.experiment} by {config.algorithm} has no settings to search; parley tune "
            f"serves, by workflow and algorithm, {tunable}"
        )
    return sweep


def _keep_inputs(config: ExperimentConfig, run_folder: RunFolder, resume: bool) -> ExperimentConfig:
    """The settings with the models, data and judges that the run begins with, noted."""
    inputs = import_module("parley.platform.runs.run_inputs")
    kept: ExperimentConfig = inputs.keep_inputs(config, run_folder, resume)
    return kept
