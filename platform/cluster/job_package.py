"""What a job brings to the cluster: parley's own code and the experiment's file, nothing else.

The package is made anew for each submission and named by its content, so that nodes never run
older code. What lies next to the code (data, runs, secrets, history) is never looked at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import parley

CODE_SUFFIXES = frozenset({".py", ".toml", ".typed"})
MAX_SIZE_BYTES = 5_000_000


def write_package(folder: Path, experiment_file: Path | None = None) -> int:
    """Fill an empty folder with what nodes need; it becomes the job's working directory.

    Args:
        folder: where `parley/`, the import package, is written.
        experiment_file: an experiment that is no part of the package.

    Returns:
        The size of all files in bytes.
    """
    for source, name in _code_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    if experiment_file is not None:
        shutil.copyfile(experiment_file, folder / experiment_file.name)
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size_bytes <= MAX_SIZE_BYTES, f"the code has grown to {size_bytes} bytes"
    return size_bytes


def _code_files() -> Iterator[tuple[Path, Path]]:
    """Every source file of the import package and its path in the upload, by name."""
    root = Path(parley.__file__).parent
    # In a checkout the parts of the package are links to the folders next to it.
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if name.isidentifier())
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in CODE_SUFFIXES:
                yield path, Path(root.name) / path.relative_to(root)
