"""`parley train`: which job runs an experiment."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from parley.platform.config.sections import ExperimentConfig
from parley.platform.telemetry.interpreter import importing
from parley.platform.telemetry.quiet import quiet_libraries
from parley.platform.telemetry.run_folder import RunFolder

JOBS = {
    ("cartpole", "ppo"): "parley.platform.jobs.ppo_job:run_ppo",
    ("cartpole", "imitate"): "parley.platform.jobs.imitation_job:run_imitation",
    ("dialogue", "pretrain"): "parley.platform.jobs.pretrain_job:run_pretrain",
    ("dialogue", "ppo"): "parley.platform.jobs.distort_job:run_distort",
    ("dialogue", "reinforce"): "parley.platform.jobs.distort_job:run_distort",
    ("dialogue", "dpo"): "parley.platform.jobs.dpo_job:run_dpo",
    ("dialogue", "detector"): "parley.platform.jobs.detector_job:run_detector",
    ("trace", "next_token"): "parley.platform.jobs.trace_job:run_trace",
    ("trace", "ppo"): "parley.platform.jobs.trace_ppo_job:run_trace_ppo",
}
"""(workflow, algorithm) -> its job; a new algorithm is a row here."""


def train_experiment(
    config: ExperimentConfig, run_folder: RunFolder, resume: bool
) -> dict[str, Any]:
    """Run an experiment to its end; the run folder holds its result afterwards.

    Returns:
        The content of `result.json` that the job decided: status, seconds, metrics, checkpoint.

    Raises:
        KeyboardInterrupt: it was stopped; everything is saved.
    """
    quiet_libraries()
    inputs = import_module("parley.platform.evaluation.run_inputs")
    config = inputs.keep_inputs(config, run_folder, resume)
    module, _, name = JOBS[config.workflow, config.algorithm].partition(":")
    with importing():
        job: Callable[..., dict[str, Any]] = getattr(import_module(module), name)
        remote_errors = import_module("parley.platform.jobs.remote_errors")
        disk_faults = import_module("parley.platform.jobs.disk_faults")
        loss_faults = import_module("parley.platform.jobs.loss_faults")
        monitoring = import_module("parley.platform.jobs.monitored_run")
    with (
        monitoring.monitored(config, run_folder),
        disk_faults.explaining_full_disk(run_folder),
        loss_faults.keeping_faults(config, run_folder),
        remote_errors.explained(),
    ):
        return job(config, run_folder, resume)
