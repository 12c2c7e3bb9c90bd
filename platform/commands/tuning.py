"""`parley tune`: which sweep an experiment has."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.terminal.interpreter import importing
from parley.platform.terminal.quiet import quiet_libraries

SWEEPS = {("dialogue", "dpo"): "parley.platform.cooperate.dpo.sweep:DPO_PARTS"}
"""(workflow, algorithm) -> its `SweepParts`; a new algorithm is a row here."""


def tune_experiment(
    config: ExperimentConfig, run_folder: RunFolder, resume: bool
) -> dict[str, Any]:
    """Sweep an experiment; the run folder holds its result afterwards.

    Raises:
        ConfigError: the experiment has no settings to search, or they cannot be used.
        KeyboardInterrupt: it was stopped; everything is saved.
        SweepFailedError: no trial came to a result.
    """
    if not isinstance(config, DialogueDPOConfig):
        raise ConfigError(
            f"{config.experiment} has no settings to search; parley tune serves experiments of "
            f"{', '.join(algorithm for _, algorithm in SWEEPS)}, such as dialogue/dpo"
        )
    quiet_libraries()
    inputs = import_module("parley.platform.runs.run_inputs")
    config = inputs.keep_inputs(config, run_folder, resume)
    module, _, name = SWEEPS[config.workflow, config.algorithm].partition(":")
    with importing():
        parts = getattr(import_module(module), name)
        job = import_module("parley.platform.engine.sweeps.run")
        disk_faults = import_module("parley.platform.runs.disk_faults")
        monitoring = import_module("parley.platform.monitoring.run_monitor")
    with monitoring.run_monitored(config, run_folder), disk_faults.explaining_full_disk(run_folder):
        result: dict[str, Any] = job.run_sweep(config, run_folder, resume, parts)
    return result
