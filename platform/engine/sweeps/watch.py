"""What happens to trials, as Tune tells it: kept in the records, `trials.json` and the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from parley.platform.engine.sweeps.record import TrialRecord, write_records
from parley.platform.engine.sweeps.table import SweepTable
from parley.platform.engine.sweeps.trial_folder import TRIALS_DIR, TrialFolder
from parley.platform.engine.sweeps.worker import FINAL, ROW, read_plan
from parley.platform.engine.worker_channel import LOOK_INTERVAL_S
from parley.platform.records import Row, TuneResult
from parley.platform.runs.announcements import ProcessRestarted, announce

KILLED = (
    "its worker was killed from outside, by lack of memory as a rule; lower the size of its "
    "batches or run fewer trials at a time by sweep.max_concurrent"
)


@dataclass(frozen=True)
class SweepHooks:
    """What a sweep tells its caller, and asks of it."""

    table: SweepTable
    """Shows the trials."""
    on_row: Callable[[TrialRecord, Row], None]
    """Takes each measure."""
    is_stopping: Callable[[], bool]
    """Whether to stop: running trials end at their newest checkpoint."""


class SweepWatch(tune.Callback):
    """Keeps the records of a sweep's trials.

    Args:
        records: the trials so far, by number; Optuna's join as they are drawn.
        run_folder: where `trials.json` is written.
        keep: checkpoints that each trial keeps.
        hooks: the caller's.
        channel: handle of the `WorkerChannel` between the trials and this.
    """

    def __init__(
        self,
        records: dict[int, TrialRecord],
        run_folder: Path,
        keep: int,
        hooks: SweepHooks,
        channel: Any,
    ) -> None:
        self._records = records
        self._run_folder = run_folder
        self._keep = keep
        self._hooks = hooks
        self._channel = channel
        self._looked_s = time.monotonic()
        self._show()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles its settings into a snapshot, which nothing reads: see sweep.py.
        return tune.Callback, ()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's hook, some times a second: say what trials are at."""
        if time.monotonic() - self._looked_s < LOOK_INTERVAL_S:
            return
        self._looked_s = time.monotonic()
        told = ray.get(self._channel.told.remote())
        for record in self._records.values():
            lines = told.get(record.plan.name, ()) if record.status == "running" else ()
            self._hooks.table.tell(record.plan.number, lines)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune's hook: a worker begins or resumes a trial."""
        self._find(trial).status = "running"
        self._show()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: TuneResult, **info: Any
    ) -> None:
        """Tune's hook: a measure."""
        row = result.get(ROW)
        if row is None:
            return
        record = self._find(trial)
        if row.get(FINAL):
            record.is_final = True
            return
        record.is_final = False  # a population puts a copy of a better trial in its place
        record.rows = [*(old for old in record.rows if old["evaluation"] < row["evaluation"]), row]
        self._hooks.on_row(record, row)
        self._show()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune's hook: a trial came to its end, or was ended."""
        record = self._find(trial)
        if record.is_final:
            record.status, record.error = "failed", record.folder.read_error()
        elif record.folder.is_done:
            record.status = "done"
        elif not self._hooks.is_stopping():
            record.status = "stopped early"
        self._show()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune's hook: a trial failed and will be tried again."""
        record = self._find(trial)
        record.num_retries += 1
        announce(ProcessRestarted("trial", record.plan.name))
        error = record.folder.read_error() or KILLED
        self._hooks.table.say(
            f"trial {record.plan.number} failed and is tried again: {error.splitlines()[0]}"
        )
        self._show()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune's hook: a trial failed for the last time."""
        record = self._find(trial)
        record.status = "failed"
        record.error = record.folder.read_error() or KILLED
        self._show()

    def _find(self, trial: Any) -> TrialRecord:
        plan = read_plan(trial.config)
        if plan.number not in self._records:
            folder = TrialFolder(self._run_folder / TRIALS_DIR / plan.name, self._keep)
            self._records[plan.number] = TrialRecord(plan, folder)
        return self._records[plan.number]

    def _show(self) -> None:
        records = [self._records[number] for number in sorted(self._records)]
        write_records(self._run_folder, records)
        self._hooks.table.update(records)
