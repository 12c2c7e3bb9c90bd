"""Where a run folder named by a relative path lies.

Below the working directory, as on any command line. Two cases are different: `PARLEY_RUNS_ROOT`
names storage that all nodes of a cluster share; and the working directory of a submitted job is
Ray's unpacked upload, which Ray deletes and which jobs of equal code share.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT_VARIABLE = "PARLEY_RUNS_ROOT"
UPLOADS_DIR = "working_dir_files"
"""The folder of Ray's session in which uploaded working directories are unpacked."""
JOB_ROOT = Path("~", "parley")
"""Root of relative run folders in a submitted job, on the node that runs its driver."""


def locate_run(path: Path) -> Path:
    """The place of a run folder, or of the folder of all runs; absolute paths stay."""
    path = path.expanduser()
    root = runs_root()
    return path if root is None else root / path


def runs_root() -> Path | None:
    """What relative run folders are below; None: the working directory."""
    named = os.environ.get(ROOT_VARIABLE)
    if named:
        return Path(named).expanduser()
    return JOB_ROOT.expanduser() if in_submitted_job() else None


def in_submitted_job() -> bool:
    """Whether this process is the driver of a job: it works in Ray's unpacked upload."""
    return UPLOADS_DIR in Path.cwd().parts
