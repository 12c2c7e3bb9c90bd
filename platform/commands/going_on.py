"""A run that was stopped: where it lies, and the command that resumes it."""

from __future__ import annotations

import shlex

from parley.platform.errors import display_path
from parley.platform.runs.checkpoints import CheckpointError, CheckpointStore
from parley.platform.runs.run_folder import CONFIG_FILE, TRIALS_FILE, RunFolder
from parley.platform.runs.run_place import in_submitted_job, runs_root
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import load_experiment

KEPT_EARLIER = {"train": ("reference", "tuning.json"), "tune": (TRIALS_FILE,)}
"""Command -> what its runs may keep before the first checkpoint: what DPO starts from, whole or
stopped on the way; trials."""


class RunStopped(KeyboardInterrupt):
    """A run was stopped, after saving; the text says where it lies and how to go on."""


def describe_stop(command: str, experiment: str, run_folder: RunFolder) -> str:
    """What to tell about a run that `parley COMMAND EXPERIMENT` began and a signal ended."""
    place = display_path(run_folder.path)
    if not can_go_on(command, run_folder):
        return f"stopped before there was anything to save; {place} holds the settings alone"
    call = resuming_call(command, experiment, run_folder)
    return f"stopped; {place} keeps what was reached. Resume it by\n  {call}"


def can_go_on(command: str, run_folder: RunFolder) -> bool:
    """Whether a resumed run would find more than the settings."""
    if any((run_folder.path / name).exists() for name in KEPT_EARLIER[command]):
        return True
    try:
        return (
            command == "train" and CheckpointStore(run_folder.checkpoints).find("last") is not None
        )
    except CheckpointError:
        return False


def resuming_call(command: str, experiment: str, run_folder: RunFolder) -> str:
    """The command line that resumes the run, quoted for a shell.

    A submitted job is resumed by another one.
    """
    in_job = in_submitted_job()
    words = ["parley", "submit" if in_job else command]
    words += ["--tune"] if in_job and command == "tune" else []
    if not _names_run(experiment, run_folder):
        experiment = str(run_folder.path / CONFIG_FILE)
    # Below another root than the working directory a relative path would mean another folder.
    path = display_path(run_folder.path) if runs_root() is None else run_folder.path.resolve()
    return shlex.join([*words, experiment, "--run-dir", str(path), "--resume"])


def _names_run(experiment: str, run_folder: RunFolder) -> bool:
    """Whether the run is one of the experiment: `experiment=` may have filed it elsewhere."""
    try:
        return (
            load_experiment(experiment, allow_unread=True).experiment
            == run_folder.config.experiment
        )
    except ConfigError:
        return False
