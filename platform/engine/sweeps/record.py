"""What a sweep knows of its trials, and `trials.json`, where everyone may read it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from parley.platform.engine.sweeps.space import TrialPlan
from parley.platform.engine.sweeps.trial_folder import SavedMeasure, TrialFolder
from parley.platform.errors import InputError
from parley.platform.records import Facts, Row
from parley.platform.runs.files import atomic_write_text, to_json
from parley.platform.runs.run_folder import TRIALS_FILE
from parley.platform.settings.sweep import Value

Status = Literal["pending", "running", "done", "stopped early", "failed"]
FINISHED: tuple[Status, ...] = ("done", "stopped early", "failed")


@dataclass
class TrialRecord:
    """One trial as the sweep's driver sees it."""

    plan: TrialPlan
    folder: TrialFolder
    status: Status = "pending"
    rows: list[Row] = field(default_factory=list)
    """Its measures, in order."""
    error: str | None = None
    is_final: bool = False
    """Whether another attempt would fail alike: a figure is not finite, or the input is wrong."""
    num_retries: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether it will not be run any more in this sweep."""
        return self.status in FINISHED

    @property
    def config(self) -> dict[str, Value]:
        """Value of each searched setting, at the best measure: a population changes them."""
        row = self.best_row
        return dict(self.plan.values if row is None else row["config"])

    @property
    def best_row(self) -> Row | None:
        """The measure of the highest score."""
        return max(self.rows, key=lambda row: float(row["score"]), default=None)

    @property
    def score(self) -> float:
        """The highest score; minus infinity where there is none, or where the trial failed."""
        row = self.best_row
        return -math.inf if row is None or self.status == "failed" else float(row["score"])

    @property
    def seconds(self) -> float:
        """Time in its worker, over all attempts that led to its last measure."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0

    def find_checkpoint(self) -> SavedMeasure | None:
        """Its best checkpoint; none of a trial that failed."""
        return None if self.status == "failed" else self.folder.best()

    def facts(self, run_folder: Path) -> Facts:
        """Its entry of `trials.json`; paths are relative to the run folder."""
        row = self.best_row or {}
        own = ("config", "seconds")
        checkpoint = self.folder.best()
        return {
            "trial": self.plan.name,
            "config": self.config,
            "status": self.status,
            "metrics": {key: value for key, value in row.items() if key not in own},
            "seconds": self.seconds,
            "checkpoint": None
            if checkpoint is None
            else str(checkpoint.state.relative_to(run_folder)),
            "error": self.error,
            "final": self.is_final,
            "retries": self.num_retries,
        }


def by_score(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The best first; those without a score last, by number."""
    return sorted(records, key=lambda record: (-record.score, record.plan.number))


def find_best(records: Sequence[TrialRecord]) -> tuple[TrialRecord, SavedMeasure] | None:
    """The trial with the best checkpoint, and that checkpoint; the earlier of two equal ones."""
    saved = [(record, found) for record in records if (found := record.find_checkpoint())]
    return max(saved, key=lambda pair: float(pair[1].row["score"]), default=None)


def write_records(run_folder: Path, records: Sequence[TrialRecord]) -> None:
    """Write `trials.json` in one piece."""
    facts = [record.facts(run_folder) for record in records]
    atomic_write_text(run_folder / TRIALS_FILE, to_json(facts, indent=2) + "\n")


def read_records(run_folder: Path, trials: Path, keep: int) -> list[TrialRecord]:
    """The trials of an interrupted sweep, each as far as its folder shows; empty where none began.

    A failed trial is to be tried again, unless its figures were not finite.

    Raises:
        InputError: `trials.json` is not what a sweep wrote.
    """
    path = run_folder / TRIALS_FILE
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [_read_record(entry, trials, keep) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the trials of a sweep ({type(error).__name__}: {error}); begin a new "
            f"sweep in another --run-dir"
        ) from error


def _read_record(entry: Facts, trials: Path, keep: int) -> TrialRecord:
    plan = TrialPlan(int(entry["trial"]), dict(entry["config"]))
    folder = TrialFolder(trials / plan.name, keep)
    record = TrialRecord(plan, folder, status=entry["status"], is_final=entry["final"])
    record.num_retries = int(entry["retries"])
    if folder.is_done:
        record.status = "done"
    if record.status == "failed" and not record.is_final:
        record.status = "pending"
    if record.status == "running":
        record.status = "pending"
    record.error = entry["error"] if record.status == "failed" else None
    record.rows = folder.read_rows() if record.is_finished else folder.sound_rows()
    newest = None if record.is_finished else folder.newest()
    if newest is not None:
        record.plan = TrialPlan(plan.number, dict(newest.row["config"]))
    return record
