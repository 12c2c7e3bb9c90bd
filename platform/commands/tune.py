"""`parley tune`: many trials of an experiment side by side; the best one is kept and measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from parley.platform.commands.running import find_sweep, tune_experiment
from parley.platform.commands.train import RunRequest, run_command
from parley.platform.errors import InputError, display_path
from parley.platform.runs.run_folder import (
    CONFIG_FILE,
    RUNS_DIR,
    TRIALS_FILE,
    RunFolderError,
)
from parley.platform.runs.run_place import locate_run
from parley.platform.settings.loading import load_experiment


def run_tune(arguments: argparse.Namespace) -> int:
    """Search as the arguments say; the run folder ends with a `result.json` in every case.

    Raises:
        ConfigError, RunFolderError: before anything is started.
        Exception: whatever stopped the sweep, after it was recorded in the result.
    """
    if not arguments.resume:
        find_sweep(load_experiment(arguments.experiment, arguments.overrides, allow_unread=True))
    elif arguments.run_dir is None:
        experiment = load_experiment(arguments.experiment, allow_unread=True).experiment
        arguments.run_dir = _latest_sweep(experiment)
    return run_command(RunRequest.of(arguments), tune_experiment, _check_sweep)


def _check_sweep(path: Path) -> None:
    """Raise where the folder is that of a single training."""
    if not (path / TRIALS_FILE).is_file():
        raise RunFolderError(
            f"{display_path(path)} is not a sweep: it has no {TRIALS_FILE}; resume it by "
            f"parley train --resume, or name a sweep with --run-dir"
        )


def _latest_sweep(experiment: str) -> Path:
    """The newest sweep of `experiment` below `runs/`.

    Raises:
        InputError: there is none.
    """
    folder = locate_run(RUNS_DIR / experiment)
    found = [
        path.parent
        for path in sorted(folder.glob(f"*/{CONFIG_FILE}"))
        if (path.parent / TRIALS_FILE).is_file()
    ]
    if not found:
        raise InputError(f"no sweep of {experiment} below {folder}; name one with --run-dir")
    return found[-1]
