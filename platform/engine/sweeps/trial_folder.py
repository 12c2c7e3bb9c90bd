"""The folder of one trial: its measures, its checkpoints, how it ended. Torch-free and Ray-free.

The trial's worker writes it, and holds its lock meanwhile; the sweep's driver reads it. What stands
here is the truth of a trial from which an interrupted sweep goes on:

    trials/00003/rows.jsonl                 one line for each measure, see below
    trials/00003/checkpoint_000004/row.json the measure that belongs to it
    trials/00003/checkpoint_000004/state/   what the trial wrote
    trials/00003/between/                   the same of a later step, where it was stopped there
    trials/00003/done.json                  the trial came to its end
    trials/00003/error.txt                  what stopped it

A measure is a `Row`: `evaluation` (its number in the trial, from 1), `score`, `seconds` (of the
trial so far), `config` (dotted key -> value) and the trial's own figures.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parley.platform.engine.sweeps.trial_ending import Save
from parley.platform.records import Row
from parley.platform.runs.announcements import CheckpointSaved, announce
from parley.platform.runs.files import atomic_write_text, sync_folder, to_json

TRIALS_DIR = "trials"
ROWS_FILE, ROW_FILE, STATE_DIR = "rows.jsonl", "row.json", "state"
DONE_FILE, ERROR_FILE, LOCK_FILE = "done.json", "error.txt", ".lock"
CHECKPOINT_PREFIX, UNFINISHED_PREFIX, BETWEEN_DIR = "checkpoint_", ".unfinished_", "between"
LOCK_TIMEOUT_S = 60.0
"""How long to wait for a worker of an interrupted sweep, which its raylet is about to end."""


@dataclass(frozen=True)
class SavedMeasure:
    """A checkpoint and the measure that belongs to it."""

    path: Path
    row: Row

    @property
    def state(self) -> Path:
        """What the trial wrote."""
        return self.path / STATE_DIR

    @property
    def is_adopted(self) -> bool:
        """Whether the weights are those of another trial, from which this one goes on."""
        return "adopted_from" in self.row


class TrialFolder:
    """Reads and writes one trial's folder.

    Args:
        path: the folder; it is made when the first thing is written.
        keep: newest checkpoints to keep; the best one is kept besides.
    """

    def __init__(self, path: Path, keep: int = 1) -> None:
        self.path = path
        self.keep = keep

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one writing process; the system frees it when the process ends.

        Raises:
            TimeoutError: another worker still writes.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK_FILE).open("a") as lock:
            deadline = time.monotonic() + LOCK_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"another worker still writes {self.path}") from None
                    time.sleep(0.1)
            yield

    def open_rows(self) -> list[Row]:
        """Make ready to go on: forget what came after the newest checkpoint; give the rows kept."""
        for torn in self.path.glob(f"{UNFINISHED_PREFIX}*"):
            shutil.rmtree(torn)
        (self.path / ERROR_FILE).unlink(missing_ok=True)
        rows = self.sound_rows()
        text = "".join(to_json(row) + "\n" for row in rows)
        if rows or (self.path / ROWS_FILE).is_file():
            atomic_write_text(self.path / ROWS_FILE, text)
        return rows

    def sound_rows(self) -> list[Row]:
        """The measures up to the newest checkpoint; all of them where the trial is at its end."""
        rows = {row["evaluation"]: row for row in self.read_rows()}
        if self.is_done:
            return list(rows.values())
        newest = self.newest()
        if newest is None:
            return []
        last = int(newest.row["evaluation"])
        kept = {number: row for number, row in rows.items() if number < last}
        return [*kept.values(), rows.get(last, newest.row)]

    def read_rows(self) -> list[Row]:
        """The measures as they stand there; a last line torn by a crash is left out."""
        path = self.path / ROWS_FILE
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def append_row(self, row: Mapping[str, object]) -> None:
        """Add one measure."""
        with (self.path / ROWS_FILE).open("a", encoding="utf-8") as file:
            file.write(to_json(row) + "\n")

    def save(self, row: Row, write: Save) -> None:
        """Write a checkpoint whole or not at all, and let go of those that are not kept."""
        started = time.perf_counter()
        self._write(self._checkpoint_path(row), row, write)
        self._prune()
        announce(CheckpointSaved(time.perf_counter() - started))

    def adopt(self, donor: SavedMeasure, config: Mapping[str, object]) -> None:
        """Go on from another trial's checkpoint, under settings of its own."""
        rows = self.read_rows()
        last = rows[-1] if rows else {"evaluation": 0, "seconds": 0.0}
        row = {**last, "config": dict(config), "adopted_from": donor.path.parent.name}
        self._write(
            self._checkpoint_path(row),
            row,
            lambda state: shutil.copytree(donor.state, state, dirs_exist_ok=True),
        )

    def save_between(self, row: Row, write: Save) -> None:
        """Write a checkpoint that belongs to no measure; `row` is the last one before it."""
        self._write(self.path / BETWEEN_DIR, row, write)

    def checkpoints(self) -> list[SavedMeasure]:
        """The checkpoints, oldest first; a folder has this name while it is whole."""
        found = []
        for path in sorted(self.path.glob(f"{CHECKPOINT_PREFIX}*")):
            try:
                row = json.loads((path / ROW_FILE).read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # its worker has just let go of it
            found.append(SavedMeasure(path, row))
        return found

    def newest(self) -> SavedMeasure | None:
        """The checkpoint of the last measure."""
        found = self.checkpoints()
        return found[-1] if found else None

    def to_go_on_from(self) -> SavedMeasure | None:
        """The newest checkpoint: that of the last measure, or one of a step behind it."""
        newest, path = self.newest(), self.path / BETWEEN_DIR
        if not (path / ROW_FILE).is_file():
            return newest
        between = SavedMeasure(path, json.loads((path / ROW_FILE).read_text(encoding="utf-8")))
        measured = 0 if newest is None else newest.row["evaluation"]
        return between if between.row["evaluation"] == measured else newest

    def best(self) -> SavedMeasure | None:
        """The checkpoint of the highest score; the earlier one where two are equal."""
        own = [saved for saved in self.checkpoints() if not saved.is_adopted]
        return max(own, key=lambda saved: float(saved.row["score"]), default=None)

    @property
    def is_done(self) -> bool:
        """Whether the trial came to its end by itself."""
        return (self.path / DONE_FILE).is_file()

    def write_done(self, figures: Mapping[str, object]) -> None:
        """Note that the trial came to its end."""
        atomic_write_text(self.path / DONE_FILE, to_json(figures) + "\n")

    def write_error(self, error: BaseException) -> None:
        """Note what stopped the trial: one line that says it, then where it happened."""
        name = type(error).__name__
        text = "".join(traceback.format_exception(error))
        atomic_write_text(self.path / ERROR_FILE, f"{name}: {error}\n\n{text}")

    def read_error(self) -> str | None:
        """What stopped the trial, without the place; None where nothing was noted."""
        path = self.path / ERROR_FILE
        if not path.is_file():
            return None
        return path.read_text(encoding="utf-8").split("\n\nTraceback")[0].strip()

    def _checkpoint_path(self, row: Row) -> Path:
        return self.path / f"{CHECKPOINT_PREFIX}{row['evaluation']:06d}"

    def _write(self, target: Path, row: Row, write: Callable[[Path], object]) -> None:
        """Write a checkpoint aside, flush it, then give it its name; the one between goes."""
        unfinished = self.path / f"{UNFINISHED_PREFIX}{target.name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        (unfinished / STATE_DIR).mkdir(parents=True)
        write(unfinished / STATE_DIR)
        atomic_write_text(unfinished / ROW_FILE, to_json(row) + "\n")
        _sync_tree(unfinished)
        if target.exists():
            self._remove(target)
        unfinished.rename(target)
        sync_folder(self.path)
        if target.name != BETWEEN_DIR:
            shutil.rmtree(self.path / BETWEEN_DIR, ignore_errors=True)

    def _remove(self, checkpoint: Path) -> None:
        """Take the name away first: what bears it is whole, also when a crash comes between."""
        aside = self.path / f"{UNFINISHED_PREFIX}removed"
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.rename(aside)
        shutil.rmtree(aside)

    def _prune(self) -> None:
        best = self.best()
        for saved in self.checkpoints()[: -self.keep]:
            if best is None or saved.path != best.path:
                self._remove(saved.path)


def _sync_tree(folder: Path) -> None:
    """Bring files and names below `folder` to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            with (Path(root) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(root))
