"""The folder of one run: its settings, metrics, checkpoints and result, written safely.

A writer (`create`, `resume`) holds the folder's lock until `close`; a reader (`open`) takes none.
Nothing else writes `config.toml`, `metrics.jsonl` and `result.json`; the checkpoints below
`checkpoints/` belong to the checkpoint code.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NoReturn, Self

from parley.platform.errors import InputError, display_path
from parley.platform.runs.announcements import RowAppended, announce
from parley.platform.runs.files import append_text, atomic_write_text, to_json
from parley.platform.runs.full_disk import DiskFullError
from parley.platform.runs.run_place import locate_run
from parley.platform.runs.versions import installed_versions
from parley.platform.settings.loading import load_experiment, to_toml
from parley.platform.settings.sections import ExperimentConfig

RUNS_DIR = Path("runs")
"""Where runs are filed unless `--run-dir` says otherwise; see `run_place`."""

CONFIG_FILE, METRICS_FILE, RESULT_FILE = "config.toml", "metrics.jsonl", "result.json"
CHECKPOINTS_DIR, LOCK_FILE = "checkpoints", ".lock"
TRIALS_FILE = "trials.json"
"""The trials of a sweep; no other run has it."""
RESULT_KEYS = ("status", "seconds", "metrics", "checkpoint")
STATUSES = ("done", "failed", "stopped")


class RunFolderError(InputError):
    """A run folder that cannot be made, opened, locked or read."""


class RunFolder:
    """One run's folder; use it as a context manager, or `close` it, to give the lock back."""

    def __init__(self, path: Path, config: ExperimentConfig, lock: IO[str] | None = None) -> None:
        self.path = path
        self.config = config
        self.result_written = False
        """Whether this process has written the result."""
        self.moved: Mapping[str, str] = {}
        """Where the command line says that the run's inputs lie now, by their keys."""
        self._lock = lock

    @classmethod
    def create(cls, config: ExperimentConfig, run_dir: Path | None = None) -> Self:
        """Make `run_dir`, or `runs/<experiment>/<timestamp>`, and write the settings into it.

        Raises:
            RunFolderError: the folder holds something already, cannot be written or is locked.
        """
        path = run_dir if run_dir is not None else _new_path(config.experiment)
        with ExitStack() as undo:
            try:
                path.mkdir(parents=True, exist_ok=True)
                _refuse_contents(path)
                lock = undo.enter_context(_take_lock(path))
                _refuse_contents(path)
                atomic_write_text(path / CONFIG_FILE, to_toml(config))
                (path / CHECKPOINTS_DIR).mkdir()
            except (OSError, DiskFullError) as error:
                _raise_unusable(path, error)
            undo.pop_all()
        return cls(path, config, lock)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read an existing run; several readers may do so while it trains.

        Raises:
            RunFolderError: there is no such folder or it holds no `config.toml`.
        """
        if not path.is_dir():
            raise RunFolderError(f"no run folder {display_path(path)}")
        if not (path / CONFIG_FILE).is_file():
            raise RunFolderError(
                f"{display_path(path)} is not a run folder: it has no {CONFIG_FILE}; give a "
                f"folder that `parley train` wrote"
            )
        return cls(path, load_experiment(path / CONFIG_FILE, allow_unread=True))

    @classmethod
    def resume(cls, path: Path, config: ExperimentConfig | None = None) -> Self:
        """Open an existing run for writing; `config` replaces its settings where given."""
        with ExitStack() as undo:
            folder = cls.open(path)
            undo.callback(folder.close)
            try:
                folder._lock = _take_lock(path)
                if config is not None and config != folder.config:
                    atomic_write_text(path / CONFIG_FILE, to_toml(config))
                    folder.config = config
                (path / CHECKPOINTS_DIR).mkdir(exist_ok=True)
                folder._rewrite_metrics(folder.read_metrics())
            except (OSError, DiskFullError) as error:
                _raise_unusable(path, error)
            undo.pop_all()
        return folder

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS_DIR

    def append_metrics(self, row: Mapping[str, object]) -> None:
        """Add one line to `metrics.jsonl`; `row` has an `iteration`, NaN becomes null."""
        if "iteration" not in row:
            raise ValueError(f"a row of metrics needs an iteration; it has {sorted(row)}")
        append_text(self.path / METRICS_FILE, to_json(row) + "\n")
        announce(RowAppended(self.path, row))

    def read_metrics(self) -> list[dict[str, object]]:
        """The rows so far; a last line torn by a crash is left out.

        Raises:
            RunFolderError: for a broken line elsewhere, with its number.
        """
        path = self.path / METRICS_FILE
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else [""]
        rows: list[dict[str, object]] = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                rows.append(dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise RunFolderError(
                    f"{display_path(path)}:{number}: not a JSON object: {error}; delete the line"
                ) from error
        return rows

    def drop_metrics_after(self, iteration: int) -> None:
        """Forget the rows of iterations beyond `iteration`, which a resumed run makes again."""
        kept = [row for row in self.read_metrics() if _iteration(row) <= iteration]
        self._rewrite_metrics(kept)

    def write_result(self, result: Mapping[str, object]) -> None:
        """Write `result.json` in one piece; the experiment and the versions are added.

        Args:
            result: `status` (one of `STATUSES`), `seconds`, `metrics` (the final figures) and
                `checkpoint` (a path relative to the folder, or None); more keys may follow.
        """
        missing = [key for key in RESULT_KEYS if key not in result]
        if missing or result["status"] not in STATUSES:
            raise ValueError(
                f"a result needs {', '.join(RESULT_KEYS)} and a status among "
                f"{', '.join(STATUSES)}; got {dict(result)}"
            )
        config = self.config
        given = {
            "experiment": config.experiment,
            "workflow": config.workflow,
            "algorithm": config.algorithm,
            "versions": installed_versions(),
        }
        whole = {"status": result["status"], **given, **result}
        atomic_write_text(self.path / RESULT_FILE, to_json(whole, indent=2) + "\n")
        self.result_written = True

    def read_result(self) -> dict[str, object] | None:
        """The result, or None while there is none."""
        path = self.path / RESULT_FILE
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def close(self) -> None:
        """Give the lock back; the folder stays readable."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard(self) -> bool:
        """Remove the folder of a run that never began; one with metrics or checkpoints stays."""
        if self.read_metrics() or any(self.checkpoints.iterdir()):
            return False
        self.close()
        shutil.rmtree(self.path)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _rewrite_metrics(self, rows: list[dict[str, object]]) -> None:
        path = self.path / METRICS_FILE
        text = "".join(to_json(row) + "\n" for row in rows)
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            atomic_write_text(path, text)


def latest_run(experiment: str) -> Path:
    """The newest run of `experiment` below `runs/`.

    Raises:
        RunFolderError: there is none.
    """
    folder = locate_run(RUNS_DIR / experiment)
    runs = sorted(folder.glob(f"*/{CONFIG_FILE}"))
    if not runs:
        raise RunFolderError(f"no run of {experiment} below {folder}; name one with --run-dir")
    return runs[-1].parent


def _iteration(row: Mapping[str, object]) -> int:
    iteration = row["iteration"]
    if not isinstance(iteration, int):
        raise RunFolderError(f"{METRICS_FILE}: iteration {iteration!r} is not a whole number")
    return iteration


def _new_path(experiment: str) -> Path:
    """A path not yet taken, named by the time of day to the second."""
    stem = locate_run(RUNS_DIR / experiment) / time.strftime("%Y-%m-%d_%H-%M-%S")
    path, number = stem, 2
    while path.exists():
        path, number = stem.with_name(f"{stem.name}_{number}"), number + 1
    return path


def _refuse_contents(path: Path) -> None:
    names = sorted(entry.name for entry in path.iterdir() if entry.name != LOCK_FILE)
    if names:
        raise RunFolderError(
            f"{display_path(path)} holds {', '.join(names[:3])} already; resume it by "
            f"--resume or choose another --run-dir"
        )


def _take_lock(path: Path) -> IO[str]:
    """Lock the folder for this process; the system frees the lock when the process ends."""
    lock = (path / LOCK_FILE).open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise RunFolderError(
            f"{display_path(path)} is being written by process {owner}; wait for it, stop it "
            f"or choose another --run-dir"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _raise_unusable(path: Path, failure: OSError | DiskFullError) -> NoReturn:
    error = failure if isinstance(failure, OSError) else failure.__cause__
    assert isinstance(error, OSError)
    reasons = {
        errno.EEXIST: "a file is in the way",
        errno.ENOTDIR: "a file is in the way",
        errno.EACCES: "no permission to write",
        errno.EPERM: "no permission to write",
        errno.EROFS: "the file system is read-only",
        errno.ENOSPC: "the disk is full",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    where = f" at {error.filename}" if error.filename not in (None, str(path)) else ""
    raise RunFolderError(
        f"cannot use {display_path(path)} as run folder: {reason}{where}; choose another --run-dir"
    ) from error
