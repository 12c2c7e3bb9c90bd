"""A run that meets a full disk: it ends with what stands, what to do, and no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from parley.platform.errors import display_path
from parley.platform.runs.checkpoints import CheckpointError, CheckpointStore
from parley.platform.runs.full_disk import DiskFullError, naming_full_disk
from parley.platform.runs.run_folder import RunFolder


@contextmanager
def explaining_full_disk(run_folder: RunFolder) -> Iterator[None]:
    """Say of a full disk which checkpoint is good and how to go on.

    Raises:
        DiskFullError: a file could not be written, whichever it was.
    """
    try:
        with naming_full_disk(run_folder.path):
            yield
    except DiskFullError as error:
        raise DiskFullError(
            f"{error}; {_describe_checkpoint(run_folder)}; free space there, then resume with "
            f"--resume"
        ) from error


def _describe_checkpoint(run_folder: RunFolder) -> str:
    """The newest checkpoint whose files are all as their hashes say."""
    try:
        checkpoint = CheckpointStore(run_folder.checkpoints).find("last")
    except CheckpointError as error:
        return f"no checkpoint is sound: {error}"
    if checkpoint is None:
        return "no checkpoint was written yet"
    return f"the last good checkpoint is {display_path(checkpoint.path)}"
