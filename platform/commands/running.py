"""`parley train`: which job runs an experiment."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.terminal.interpreter import importing
from parley.platform.terminal.quiet import quiet_libraries

JOBS = {
    ("cartpole", "ppo"): "parley.platform.control.ppo_run:run_ppo",
    ("cartpole", "imitate"): "parley.platform.control.imitation_run:run_imitation",
    ("dialogue", "pretrain"): "parley.platform.language.pretrain_run:run_pretrain",
    ("dialogue", "ppo"): "parley.platform.distort.run:run_distort",
    ("dialogue", "reinforce"): "parley.platform.distort.run:run_distort",
    ("dialogue", "dpo"): "parley.platform.cooperate.dpo.run:run_dpo",
    ("dialogue", "detector"): "parley.platform.maxims.detector_run:run_detector",
    ("trace", "next_token"): "parley.platform.trace.next_token_run:run_trace",
    ("trace", "ppo"): "parley.platform.trace.ppo_run:run_trace_ppo",
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
    inputs = import_module("parley.platform.runs.run_inputs")
    config = inputs.keep_inputs(config, run_folder, resume)
    module, _, name = JOBS[config.workflow, config.algorithm].partition(":")
    with importing():
        job: Callable[..., dict[str, Any]] = getattr(import_module(module), name)
        remote_errors = import_module("parley.platform.cluster.remote_errors")
        disk_faults = import_module("parley.platform.runs.disk_faults")
        loss_faults = import_module("parley.platform.engine.torch.kept_loss_faults")
        monitoring = import_module("parley.platform.monitoring.monitored_run")
    with (
        monitoring.monitored(config, run_folder),
        disk_faults.explaining_full_disk(run_folder),
        loss_faults.keeping_faults(config, run_folder),
        remote_errors.explained(),
    ):
        return job(config, run_folder, resume)
