"""The experiments that come with the package, as they stand in their files; loads nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import parley

EXPERIMENTS_DIR = Path(parley.__file__).parent / "tune_configs"
"""The experiments that come with the package; a name is a path below it without `.toml`."""


def packaged_files() -> dict[str, Path]:
    """Name -> file, by name."""
    files = {
        path.relative_to(EXPERIMENTS_DIR).with_suffix("").as_posix(): path
        for path in EXPERIMENTS_DIR.rglob("*.toml")
    }
    return dict(sorted(files.items()))


def packaged_tables() -> dict[str, dict[str, object]]:
    """Name -> the tables of its file, by name."""
    return {
        name: tomllib.loads(path.read_text(encoding="utf-8"))
        for name, path in packaged_files().items()
    }


def list_experiments() -> dict[str, str]:
    """Name -> one-line summary of the experiments that come with the package, by name."""
    return {name: str(table.get("summary", "")) for name, table in packaged_tables().items()}
