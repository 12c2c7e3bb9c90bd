"""The job of `parley tune`: prepare once, run the trials, keep the best checkpoint, measure it.

    preparation ─► object store ─► trials in Ray's workers ─► best checkpoint ─► evaluation

What is particular to an algorithm are the functions of its `SweepParts`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from parley.platform.cluster.capacity import CPU
from parley.platform.cluster.connection import connect_ray
from parley.platform.engine.sweeps.record import TrialRecord, by_score, find_best, write_records
from parley.platform.engine.sweeps.resources import Bundles, one_process, total
from parley.platform.engine.sweeps.shared_storage import check_shared
from parley.platform.engine.sweeps.space import trial_config
from parley.platform.engine.sweeps.sweep import has_work, load_records, run_trials
from parley.platform.engine.sweeps.table import SweepTable, print_trials
from parley.platform.engine.sweeps.trial_folder import SavedMeasure
from parley.platform.engine.sweeps.watch import SweepHooks
from parley.platform.engine.sweeps.worker import Trial
from parley.platform.errors import ParleyError
from parley.platform.records import Metrics, Result, Row
from parley.platform.report.choice import CHOICE, Gain, describe_choice
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.runs.result import conclude_run
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import StopSignal
from parley.platform.settings.sweep import SweepableConfig
from parley.platform.terminal.progress import Progress

SHOWN_ERROR_CHARS = 2000


class SweepFailedError(ParleyError):
    """A sweep in which no trial came to a result."""


@dataclass(frozen=True)
class SweepParts:
    """What an algorithm brings to its sweep; each function takes the class of its settings."""

    prepare: Callable[[Any, Path, Progress, StopSignal], Any]
    """What all trials share; keeps what it has done where it is stopped."""
    trial: Trial
    """One trial, in a worker."""
    conclude: Callable[[Any, RunFolder, Any, SavedMeasure, Progress], tuple[str, Metrics]]
    """Takes the best trial's settings, the run, what is shared and the best checkpoint; gives the
    exported checkpoint's place in the run, and its final figures."""
    bundles: Bundles = one_process
    """What the processes of a trial take of the cluster."""
    compare: Callable[[Any, SavedMeasure, SavedMeasure], Gain | None] | None = None
    """By how much one checkpoint's score is higher than another's, if that can be told."""


def run_sweep(
    config: SweepableConfig, run_folder: RunFolder, resume: bool, parts: SweepParts
) -> Result:
    """Prepare, run the trials, and conclude with the best of them; see `commands.running`."""
    records = load_records(config, run_folder.path, resume)
    sweep = SweepRun(config, run_folder, records)
    with StopSignal(config.checkpoint.stop_grace_s) as stop, Progress(()) as progress:
        shared = parts.prepare(config, run_folder.path, progress, stop)
    if has_work(config, records):
        _run_on_cluster(sweep, parts, shared)
    print_trials(sweep.records)
    with (
        StopSignal() as stop,
        stop.at_once(),
        Progress(()) as progress,
        progress.status("measuring the best checkpoint"),
    ):
        return sweep.conclude(parts, shared, progress)


def _run_on_cluster(sweep: SweepRun, parts: SweepParts, shared: object) -> None:
    """Run the trials that are unfinished.

    Raises:
        KeyboardInterrupt: stopped by a signal; the trials' checkpoints stand.
    """
    config = sweep.config
    num_trials = max(1, config.sweep.max_concurrent)
    num_cpus = math.ceil(num_trials * total(parts.bundles(config), CPU))
    with ExitStack() as cluster:
        with Progress(()) as progress:
            cluster.enter_context(connect_ray(config.ray, num_cpus, progress))
            check_shared(sweep.run_folder.path)
        # Only now: Ray takes the signals for itself when it starts.
        with StopSignal() as stop:
            sweep.run(parts, shared, stop)
    if stop.received:
        sweep.conclude_stopped()


class SweepRun:
    """A sweep whose measures and result go into a run folder.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        records: the trials as far as they are known.
    """

    def __init__(
        self, config: SweepableConfig, run_folder: RunFolder, records: list[TrialRecord]
    ) -> None:
        self.config = config
        self.run_folder = run_folder
        self.records = records
        self._begin_s = time.monotonic()
        self._num_rows = 0
        write_records(run_folder.path, records)
        self._restore_metrics()

    def run(self, parts: SweepParts, shared: object, stop: StopSignal) -> None:
        """Run what is unfinished, and show it, until `stop`."""
        num_trials = len(self.records)
        if self.config.sweep.search == "optuna":
            num_trials = self.config.sweep.num_samples
        with SweepTable(num_trials) as table:
            table.known(self.records)
            waiting = num_trials - sum(record.is_finished for record in self.records)
            table.say(f"{waiting} of {num_trials} trials to run")
            hooks = SweepHooks(table, self._append_row, lambda: stop.received)
            self.records = run_trials(
                self.config,
                self.run_folder.path,
                self.records,
                parts.trial,
                parts.bundles(self.config),
                shared,
                hooks,
            )

    def conclude(self, parts: SweepParts, shared: Any, progress: Progress) -> Result:
        """Export and measure the best checkpoint; write the result.

        Raises:
            SweepFailedError: no trial came to a result.
        """
        found = find_best(self.records)
        if found is None:
            self._raise_failed()
        record, best = found
        values = best.row["config"]
        settings = trial_config(self.config, values)
        choice = self._judge_choice(parts, record, best)
        if choice:
            progress.say(choice[CHOICE])
        checkpoint, figures = parts.conclude(settings, self.run_folder, shared, best, progress)
        statuses = [other.status for other in self.records]
        metrics = {
            **figures,
            "best_trial": record.plan.name,
            "best_config": values,
            "best_score": best.row["score"],
            **choice,
            "trials": len(self.records),
            "trials_done": statuses.count("done"),
            "trials_stopped_early": statuses.count("stopped early"),
            "trials_failed": statuses.count("failed"),
        }
        return self._write_result("done", metrics, checkpoint)

    def _judge_choice(self, parts: SweepParts, chosen: TrialRecord, best: SavedMeasure) -> Metrics:
        """How sure it is that no other trial is as good; empty where there is nothing to compare.

        The interval is one of two given trials: among many, the best one by chance looks better.
        """
        if parts.compare is None:
            return {}
        gains = {}
        for record in by_score(self.records):
            other = record.find_checkpoint()
            if record is chosen or other is None:
                continue
            gain = parts.compare(self.config, best, other)
            if gain is not None:
                gains[record.plan.name] = gain
        return describe_choice(chosen.plan.name, gains) if gains else {}

    def conclude_stopped(self) -> NoReturn:
        """Write the result of a sweep that may go on; each trial's last checkpoint stands.

        Raises:
            KeyboardInterrupt: always; that is what stopped it.
        """
        print_trials(self.records)
        found = find_best(self.records)
        metrics = {} if found is None else {"best_trial": found[0].plan.name, **found[1].row}
        self._write_result("stopped", metrics, None)
        raise KeyboardInterrupt

    def _append_row(self, record: TrialRecord, row: Row) -> None:
        """Keep a measure in `metrics.jsonl`; its `iteration` counts those of all trials."""
        self._num_rows += 1
        own = {"iteration": self._num_rows, "trial": record.plan.name}
        self.run_folder.append_metrics({**row, **own})

    def _restore_metrics(self) -> None:
        """Bring `metrics.jsonl` to what the trials' own folders say, in the order it had."""
        truth = {
            (record.plan.name, row["evaluation"]): (record, row)
            for record in self.records
            for row in record.rows
        }
        noted = [
            (str(row.get("trial")), cast("int", row.get("evaluation")))
            for row in self.run_folder.read_metrics()
        ]
        order = dict.fromkeys([*(key for key in noted if key in truth), *truth])
        self.run_folder.drop_metrics_after(0)
        for key in order:
            self._append_row(*truth[key])

    def _raise_failed(self) -> NoReturn:
        """Say once what the trials died of.

        Raises:
            SweepFailedError: always.
        """
        errors = [record.error for record in self.records if record.error]
        alike = len({error.splitlines()[0] for error in errors}) == 1
        shown = errors[0][:SHOWN_ERROR_CHARS] if errors else "no trial saved a checkpoint"
        count = "all" if alike else "the first"
        raise SweepFailedError(
            f"none of {len(self.records)} trials came to a result; {count} of them: {shown}\n"
            f"where it happened stands in trials/*/error.txt below the run folder"
        )

    def _write_result(
        self, status: str, metrics: Mapping[str, Any], checkpoint: str | None
    ) -> Result:
        return conclude_run(
            self.run_folder,
            status,
            time.monotonic() - self._begin_s,
            metrics,
            None if checkpoint is None else Checkpoint(self.run_folder.path / checkpoint),
        )
