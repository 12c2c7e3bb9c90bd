"""A full disk, told as what it is: which file, which disk, how much of it is free."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parley.platform.errors import ParleyError, display_path

_CODES = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("No space left on device", "os error 28", "Disk quota exceeded")
"""How libraries say it that are not written in Python."""


class DiskFullError(ParleyError):
    """A file could not be written for lack of space."""


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Raise a full disk as `DiskFullError` about `path`, whoever met it inside the block.

    Raises:
        DiskFullError: no space is left, or the quota is used up.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFullError) or not is_full_disk(error):
            raise
        raise DiskFullError(
            f"no space left for {display_path(path)} on the disk at {_describe_disk(path)}"
        ) from error


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or what caused it, is a lack of space on a disk."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, OSError) and current.errno in _CODES:
            return True
        if any(words in str(current) for words in _WORDS):
            return True
        current = current.__cause__
    return False


def _describe_disk(path: Path) -> str:
    """Where the disk is mounted, and what is free of it."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    while not os.path.ismount(place):
        place = place.parent
    return f"{place}: {_size(usage.free)} of {_size(usage.total)} free"


def _size(num_bytes: int) -> str:
    size, units = float(num_bytes), ("bytes", "KiB", "MiB", "GiB")
    for unit in units:
        if size < 1024.0:
            return f"{size:.0f} {unit}"
        size /= 1024.0
    return f"{size:.1f} TiB"
