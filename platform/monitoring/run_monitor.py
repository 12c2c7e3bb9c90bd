"""What watches a run for as long as it lasts: its metrics in the cluster, and its trackers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from parley.platform.monitoring.publisher import Publisher, policy_of
from parley.platform.monitoring.runner_meter import WatchedRun, runners_watched
from parley.platform.monitoring.trackers import Tracker, check_trackers, make_trackers
from parley.platform.runs.announcements import heard
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.sections import ExperimentConfig


@contextmanager
def run_monitored(config: ExperimentConfig, run_folder: RunFolder) -> Iterator[None]:
    """Show what the run announces inside the block.

    Raises:
        ConfigError: a tracker is not installed.
    """
    check_trackers(config)
    trackers = make_trackers(config, run_folder)
    run = name_run(config, run_folder.path)
    with ExitStack() as stack:
        stack.enter_context(runners_watched(WatchedRun(run, policy_of(config))))
        stack.enter_context(heard(Publisher(config, run), *trackers))
        failed = True
        try:
            yield
            failed = False
        finally:
            _close(trackers, failed)


@contextmanager
def trial_monitored(config: ExperimentConfig, run: str, trial: str) -> Iterator[None]:
    """Show what a trial announces in its worker; its rows are shown by the driver of the sweep."""
    with heard(Publisher(config, run, trial)):
        yield


def name_run(config: ExperimentConfig, folder: Path) -> str:
    """The name of a run among those of a cluster: its experiment and its folder's name."""
    return f"{config.experiment}/{folder.resolve().name}"


def _close(trackers: list[Tracker], failed: bool) -> None:
    for tracker in trackers:
        try:
            tracker.close(failed)
        except Exception as error:
            print(f"{tracker.__qualname__} did not end well: {error}", file=sys.stderr, flush=True)
