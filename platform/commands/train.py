"""`parley train`: settings, run folder, training, and a result whatever happens.

`parley tune` and the Python API do the same through `run_recorded`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, cast

from parley.platform.commands.going_on import RunStopped, describe_stop
from parley.platform.commands.running import train_experiment
from parley.platform.commands.tables import print_meanings, print_metrics
from parley.platform.errors import EXIT_DONE, EXIT_RUN_FAILED, InputError, display_path
from parley.platform.runs.checkpoints import Checkpoint, CheckpointError, CheckpointStore
from parley.platform.runs.full_disk import DiskFullError
from parley.platform.runs.result import conclude_run, newest_figures
from parley.platform.runs.run_folder import (
    CONFIG_FILE,
    TRIALS_FILE,
    RunFolder,
    RunFolderError,
    latest_run,
)
from parley.platform.runs.run_place import locate_run
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import load_experiment, override_values
from parley.platform.settings.resuming import resumed_settings, split_moved
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.settings.unread import refuse_sweep_settings

TrainFunction = Callable[[ExperimentConfig, RunFolder, bool], Mapping[str, object]]

TRIALS_FAILED = "trials_failed"
"""The figure of a sweep that makes the command fail, although the best trial was kept."""
DATA_KEY = "data.path"
"""What `--data` sets; an experiment without this setting refuses it."""


@dataclass(frozen=True)
class RunRequest:
    """What is to be run: the arguments of `parley train` and `parley tune`."""

    experiment: str
    """A name below `tune_configs/` or a TOML file."""
    overrides: tuple[str, ...] = ()
    """`key=value`."""
    run_dir: Path | None = None
    """Its folder; None: `runs/<experiment>/<timestamp>`, or the newest run of a resumed one."""
    resume: bool = False
    auto_resume: bool = False
    """Resume where `run_dir` holds a run, else begin it."""
    quick: bool = False
    command: Literal["train", "tune"] = "train"

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """What was asked for on the command line."""
        data = [] if arguments.data is None else [f"{DATA_KEY}={arguments.data}"]
        return cls(
            experiment=arguments.experiment,
            overrides=(*arguments.overrides, *data),
            run_dir=arguments.run_dir,
            resume=arguments.resume,
            auto_resume=arguments.auto_resume,
            quick=arguments.quick,
            command=arguments.command,
        )


def run_train(arguments: argparse.Namespace) -> int:
    """Train as the arguments say; the run folder ends with a `result.json` in every case.

    Raises:
        ConfigError, RunFolderError: before anything is started.
        Exception: whatever stopped the training, after it was recorded in the result.
    """
    return run_command(RunRequest.of(arguments), train_experiment, refuse_sweep)


def run_command(
    request: RunRequest,
    run: TrainFunction,
    check_resumed: Callable[[Path], None],
) -> int:
    """`run_recorded`, its figures on standard output; the exit code."""
    path, metrics = run_recorded(request, run, check_resumed)
    print_metrics(metrics)
    print_meanings(metrics)
    failed = metrics.get(TRIALS_FAILED)
    if not failed:
        return EXIT_DONE
    print(
        f"parley {request.command}: {failed} of {metrics.get('trials')} trials failed; why stands"
        f" in {display_path(path)}/trials/*/error.txt",
        file=sys.stderr,
    )
    return EXIT_RUN_FAILED


def run_recorded(
    request: RunRequest,
    run: TrainFunction,
    check_resumed: Callable[[Path], None],
) -> tuple[Path, Mapping[str, object]]:
    """Run a function on a run folder; whatever happens, it ends with a `result.json`.

    Args:
        request: what to run.
        run: `train_experiment` or `tune_experiment`.
        check_resumed: raises for the folder of a run that the command cannot resume.

    Returns:
        The run's folder and its final figures.

    Raises:
        RunStopped: by Ctrl-C or SIGTERM, after saving; it says how to go on.
    """
    run_folder, resume = _open_run(request, check_resumed)
    with run_folder:
        config = run_folder.config
        print(f"run folder: {display_path(run_folder.path)}", flush=True)
        start_s = time.monotonic()
        try:
            result = run(config, run_folder, resume)
        except BaseException as error:
            never_began = isinstance(error, InputError) and not resume
            if not (never_began and run_folder.discard()):
                _record_failure(run_folder, error, time.monotonic() - start_s)
            if isinstance(error, KeyboardInterrupt):
                message = describe_stop(request.command, request.experiment, run_folder)
                raise RunStopped(message) from error
            raise
    return run_folder.path, cast("Mapping[str, object]", result.get("metrics", result))


def _open_run(request: RunRequest, check_resumed: Callable[[Path], None]) -> tuple[RunFolder, bool]:
    """The folder to write, and whether a run in it goes on."""
    resume = request.resume
    run_dir = None if request.run_dir is None else locate_run(request.run_dir)
    if request.auto_resume:
        if run_dir is None:
            raise InputError("--auto-resume needs a --run-dir; without one each run is a new one")
        resume = (run_dir / CONFIG_FILE).is_file()
    if not resume:
        config = load_experiment(request.experiment, request.overrides, quick=request.quick)
        if request.command == "train":
            refuse_sweep_settings([*override_values(config, request.overrides)])
        return RunFolder.create(config, run_dir), False
    experiment = load_experiment(request.experiment, allow_unread=True).experiment
    path: Path = run_dir or latest_run(experiment)
    stored = RunFolder.open(path).config
    check_resumed(path)
    if stored.experiment != experiment:
        raise ConfigError(
            f"{display_path(path)} is a run of {stored.experiment}, not of {experiment}; write "
            f"parley {request.command} {stored.experiment} --run-dir {path} --resume"
        )
    settings = resumed_settings(stored, request.experiment, request.overrides, request.quick)
    kept, moved = split_moved(stored, settings)
    run_folder = RunFolder.resume(path, kept)
    run_folder.moved = moved
    return run_folder, True


def refuse_sweep(path: Path) -> None:
    """Raise where the folder is that of a sweep, whose trials `parley tune` resumes."""
    if (path / TRIALS_FILE).is_file():
        raise RunFolderError(
            f"{display_path(path)} is a sweep; resume it by parley tune --resume, or name "
            f"another run with --run-dir"
        )


def _record_failure(run_folder: RunFolder, error: BaseException, seconds: float) -> None:
    """Write the result of a run that broke off, unless the training wrote one itself."""
    if run_folder.result_written:
        return
    stopped = isinstance(error, KeyboardInterrupt)
    status, told = ("stopped", "") if stopped else ("failed", f"{type(error).__name__}: {error}")
    metrics, checkpoint = newest_figures(run_folder), _newest_checkpoint(run_folder)
    try:
        conclude_run(run_folder, status, seconds, metrics, checkpoint, error=told)
    except (OSError, DiskFullError) as trouble:  # it must not stand in the way of the error itself
        print(f"parley: the result was not written: {trouble}", file=sys.stderr)


def _newest_checkpoint(run_folder: RunFolder) -> Checkpoint | None:
    """The newest sound checkpoint, from which `--resume` would go on."""
    try:
        return CheckpointStore(run_folder.checkpoints).find("last")
    except CheckpointError:
        return None
