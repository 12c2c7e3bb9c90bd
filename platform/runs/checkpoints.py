"""The checkpoints of a run: written whole or not at all, verified when read, old ones removed.

    checkpoints/
      iteration_000010/
        policies/<module>/     a policy's files, see `policies.building`; loads without Ray
        policy.json            what the policies speak: environment, bins, window; the run's inputs
        trainer.json, .safetensors   optimisers, counters, environments, random streams
        manifest.json          size and SHA-256 of every file above
      best.json, last.json     which of them is the best and the newest

A checkpoint is written under a hidden name, flushed, then renamed; one that is replaced or let go
of loses its name before its files. What bears a name is whole, whenever the process dies.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from parley.platform.errors import InputError, display_path
from parley.platform.records import Facts
from parley.platform.runs.announcements import CheckpointSaved, announce
from parley.platform.runs.files import atomic_write_text, sync_folder, to_json
from parley.platform.runs.full_disk import naming_full_disk
from parley.platform.runs.pinned_inputs import FACT, read_inputs, to_table
from parley.platform.runs.state_tree import load_tree, save_tree
from parley.platform.settings.names import check_name, member_path

MANIFEST_FILE, POLICY_FILE, TRAINER_STEM = "manifest.json", "policy.json", "trainer"
POLICIES_DIR = "policies"
PARTIAL, REPLACED, REMOVED = "partial", "replaced", "removed"
"""Endings of the hidden names: not yet whole, making room for its successor, being deleted."""
Role = Literal["best", "last"]


class CheckpointError(InputError):
    """A checkpoint that is missing, torn, damaged, or of another model."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    path: Path

    @property
    def policy_folders(self) -> dict[str, Path]:
        """Where each module's policy lies; what the manifest does not name is none.

        Raises:
            CheckpointError: it names none.
        """
        parts = [PurePosixPath(name).parts for name in _read_manifest(self.path)]
        modules = {part[1] for part in parts if len(part) > 2 and part[0] == POLICIES_DIR}
        if not modules:
            raise CheckpointError(
                f"{display_path(self.path / MANIFEST_FILE)} names no policy; use another checkpoint"
            )
        return {name: self.path / POLICIES_DIR / name for name in sorted(modules)}

    def policy_hashes(self) -> dict[str, str]:
        """The SHA-256 of the policies' files, by their paths inside."""
        return {
            name: str(entry["sha256"])
            for name, entry in _read_manifest(self.path).items()
            if PurePosixPath(name).parts[0] == POLICIES_DIR
        }

    def read_policy_facts(self) -> Facts:
        """The content of `policy.json`."""
        facts: Facts = json.loads((self.path / POLICY_FILE).read_text(encoding="utf-8"))
        return facts

    def read_trainer_state(self) -> Any:
        """The training state; for `--resume`.

        Raises:
            CheckpointError: its files are missing or damaged.
        """
        try:
            return load_tree(self.path / TRAINER_STEM)
        except ValueError as error:
            raise CheckpointError(f"{error}; resume from another checkpoint") from error


class CheckpointStore:
    """Writes and finds the checkpoints below one folder.

    Args:
        folder: the run's `checkpoints/`.
        keep: newest checkpoints to keep; the best is kept besides.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder = folder
        self.keep = keep

    def save(
        self,
        iteration: int,
        save_policies: Callable[[Path], None],
        facts: Mapping[str, Any],
        trainer_state: Any,
        best_score: float | None = None,
    ) -> Checkpoint:
        """Write the checkpoint of `iteration` and remove old ones.

        Args:
            iteration: names it; one that exists already is replaced.
            save_policies: writes the policies' folders into the folder it is given.
            facts: for `policy.json`; what the run notes of its inputs is added.
            trainer_state: for `--resume`; see `state_tree`.
            best_score: given where this is the best policy so far.
        """
        started = time.perf_counter()
        final = self._path(iteration)
        self._tidy()
        if inputs := read_inputs(self.folder.parent):
            facts = {**facts, FACT: to_table(inputs)}
        write_checkpoint(final, save_policies, facts, trainer_state)
        checkpoint = self._register(final, iteration, best_score)
        announce(CheckpointSaved(time.perf_counter() - started))
        return checkpoint

    def _path(self, iteration: int) -> Path:
        return self.folder / f"iteration_{iteration:06d}"

    def _register(self, final: Path, iteration: int, best_score: float | None) -> Checkpoint:
        """Point to a checkpoint that has been written, and remove old ones."""
        self._point("last", final, {"iteration": iteration})
        if best_score is not None:
            self._point("best", final, {"iteration": iteration, "score": best_score})
        self._remove_old(final)
        return Checkpoint(final)

    def find(self, role: Role) -> Checkpoint | None:
        """The best or the newest checkpoint, verified; None where there is none.

        Where the newest is damaged, the newest sound one before it is taken.

        Raises:
            CheckpointError: the best is damaged, or no checkpoint is sound.
        """
        self._put_back()
        if role == "best":
            pointer = self._read_best()
            return None if pointer is None else open_checkpoint(self.folder / pointer["checkpoint"])
        first_error: CheckpointError | None = None
        for path in sorted(self.folder.glob("iteration_*"), reverse=True):
            try:
                return open_checkpoint(path)
            except CheckpointError as error:
                first_error = first_error or error
        if first_error is not None:
            raise first_error
        return None

    def has_any(self) -> bool:
        """Whether anything was saved, sound or not."""
        return any(self.folder.glob("iteration_*"))

    def best_score(self) -> float | None:
        """The score with which the best checkpoint was saved."""
        pointer = self._read_best()
        return None if pointer is None else float(pointer["score"])

    def _read_best(self) -> Facts | None:
        path = self.folder / "best.json"
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            name = check_name("checkpoint", str(content["checkpoint"]))
            score = content["score"] if "score" in content else content["mean_return"]
            return {"checkpoint": name, "score": score}
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"{display_path(path)} is damaged ({error}); delete it to use the newest checkpoint"
            ) from error

    def _point(self, role: Role, path: Path, facts: Mapping[str, Any]) -> None:
        content = {"checkpoint": path.name, **facts}
        atomic_write_text(self.folder / f"{role}.json", to_json(content) + "\n")

    def _remove_old(self, newest: Path) -> None:
        """Later ones than `newest` are damaged, else they would have been resumed; they wait to be
        replaced and do not count."""
        pointer = self._read_best()
        best = None if pointer is None else pointer["checkpoint"]
        paths = [path for path in self.folder.glob("iteration_*") if path.name <= newest.name]
        for path in sorted(paths)[: -self.keep]:
            if path.name != best:
                _remove(path)

    def _put_back(self) -> None:
        """Give a checkpoint its name back whose successor did not come: the process died between.

        Where the folder cannot be written, the ones before it serve.
        """
        for aside in self.folder.glob(f".iteration_*.{REPLACED}"):
            final = self.folder / aside.name.removeprefix(".").removesuffix(f".{REPLACED}")
            if not final.exists():
                with suppress(OSError):
                    aside.rename(final)

    def _tidy(self) -> None:
        """Delete what a process that died has left under hidden names."""
        self._put_back()
        for ending in (PARTIAL, REPLACED, REMOVED):
            for path in self.folder.glob(f".iteration_*.{ending}"):
                shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(".*.json.*.tmp"):
            path.unlink(missing_ok=True)


def write_checkpoint(
    folder: Path,
    save_policies: Callable[[Path], None],
    facts: Mapping[str, Any],
    trainer_state: Any,
) -> None:
    """Write a checkpoint under a hidden name, then rename it; one of that name is replaced.

    Where it cannot be written, nothing of it stays behind.

    Args:
        folder: its place.
        save_policies: writes the policies' folders into the folder it is given.
        facts: for `policy.json`.
        trainer_state: for `--resume`; see `state_tree`.

    Raises:
        DiskFullError: there is no space for it.
    """
    partial = _hidden(folder, PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    with naming_full_disk(folder):
        try:
            (partial / POLICIES_DIR).mkdir(parents=True)
            save_policies(partial / POLICIES_DIR)
            (partial / POLICY_FILE).write_text(to_json(facts, indent=2), encoding="utf-8")
            save_tree(trainer_state, partial / TRAINER_STEM)
            _write_manifest(partial)
            _flush(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # on a full disk, its space is needed
            raise
        _place(partial, folder)


def _hidden(final: Path, ending: str) -> Path:
    return final.parent / f".{final.name}.{ending}"


def _place(partial: Path, final: Path) -> None:
    """Give a written checkpoint its name; the one that bore it goes only afterwards."""
    aside = _hidden(final, REPLACED)
    while True:
        if final.exists():
            shutil.rmtree(aside, ignore_errors=True)
            final.rename(aside)
        try:
            partial.rename(final)
            break
        except OSError as error:  # a reader has just put the old one back
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    sync_folder(final.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _remove(checkpoint: Path) -> None:
    """Take the name away first: what bears it is whole, also when a crash comes between."""
    aside = _hidden(checkpoint, REMOVED)
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def open_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint whose files are all there, whole and unchanged.

    Raises:
        CheckpointError: it is not; the message names the file.
    """
    if not path.is_dir():
        raise CheckpointError(f"no checkpoint folder {display_path(path)}")
    for name, recorded in _read_manifest(path).items():
        file = _member(path, name)
        if not file.is_file():
            raise CheckpointError(f"{display_path(file)} is missing; use another checkpoint")
        if file.stat().st_size != recorded["size_bytes"]:
            raise CheckpointError(
                f"{display_path(file)} is truncated: {file.stat().st_size} of "
                f"{recorded['size_bytes']} bytes; use another checkpoint"
            )
        if _hash(file) != recorded["sha256"]:
            raise CheckpointError(f"{display_path(file)} was changed; use another checkpoint")
    return Checkpoint(path)


def resolve_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint that a RUN|CHECKPOINT argument means: of a run, the best, else the newest.

    A policy's folder inside a checkpoint means that checkpoint.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if path.absolute().parent.name == POLICIES_DIR:
        path = path.absolute().parents[1]
    for folder in (path / "checkpoints", path):
        store = CheckpointStore(folder)
        found = store.find("best") or store.find("last")
        if found is not None:
            return found
    if (path / "config.toml").is_file():
        raise CheckpointError(
            f"{display_path(path)} holds no checkpoint yet; train it first, or wait for its first"
        )
    return open_checkpoint(path)


def _read_manifest(folder: Path) -> Facts:
    """The size and hash of every file of a checkpoint, by its path inside."""
    path = folder / MANIFEST_FILE
    try:
        entries: Facts = json.loads(path.read_text(encoding="utf-8"))["files"]
        if not isinstance(entries, dict):
            raise TypeError("files is no table")
        return entries
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{display_path(folder)} is not a checkpoint: it has no {MANIFEST_FILE}"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{display_path(path)} is damaged ({error}); use another checkpoint"
        ) from error


def _member(folder: Path, name: str) -> Path:
    """A file of the manifest; links out of the checkpoint are not followed."""
    try:
        return member_path(folder, name, folder / MANIFEST_FILE)
    except InputError as error:
        raise CheckpointError(str(error)) from error


def _write_manifest(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = {
        path.relative_to(folder).as_posix(): {
            "size_bytes": path.stat().st_size,
            "sha256": _hash(path),
        }
        for path in files
    }
    text = to_json({"files": entries}, indent=2)
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """Make all files and folders below `folder` survive a power cut."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        else:
            sync_folder(path)
    sync_folder(folder)
