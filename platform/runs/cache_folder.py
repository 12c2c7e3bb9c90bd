"""Folders in the user's cache that are built once: whole or not at all, by one process at a time.

A folder is built under a hidden name, flushed and renamed; a lock file next to it lets a second
process wait for the first. `manifest.json` holds the size and hash of every file, so that damage is
found before the folder is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from parley.platform.errors import InputError, display_path
from parley.platform.runs.files import atomic_write_text, sync_folder, to_json

CACHE_VARIABLE = "PARLEY_CACHE_DIR"
MANIFEST_FILE = "manifest.json"


class CacheError(InputError):
    """A cache folder that cannot be written."""


def cache_root() -> Path:
    """`PARLEY_CACHE_DIR`, else parley's folder where this system keeps its users' caches."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "parley"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parley"


def build_once(folder: Path, build: Callable[[Path], None], log: Callable[[str], None]) -> Path:
    """`folder`, which `build` fills first where it is absent or damaged.

    Args:
        folder: where it ends up.
        build: writes the files into the empty folder it is given.
        log: is told in one line of damage, or that another process is waited for.

    Raises:
        CacheError: the cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log(f"{display_path(folder)} is being built by another process; waiting for it")
            lock.acquire()
    except OSError as error:
        raise CacheError(
            f"cannot write the cache {display_path(folder.parent)} ({error.strerror or error}); "
            f"name another folder by {CACHE_VARIABLE}"
        ) from error
    with lock:
        damage = find_damage(folder)
        if damage is None:
            return folder
        if folder.exists():
            log(f"{display_path(folder)}: {damage}; building it again")
        _build(folder, build)
        return folder


def find_damage(folder: Path) -> str | None:
    """What is wrong with a built folder in a few words; None where it is as it was built."""
    if not folder.is_dir():
        return "it is absent"
    try:
        text = (folder / MANIFEST_FILE).read_text(encoding="utf-8")
        entries = {str(name): str(digest) for name, digest in json.loads(text).items()}
    except (OSError, ValueError, AttributeError):
        return f"{MANIFEST_FILE} is missing or damaged"
    for name, digest in entries.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _hash(folder / name) != digest:
            return f"{name} is damaged"
    return None


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    partial = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        build(partial)
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        entries = {path.relative_to(partial).as_posix(): _hash(path) for path in files}
        for path in files:
            _sync(path)
        atomic_write_text(partial / MANIFEST_FILE, to_json(entries, indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
