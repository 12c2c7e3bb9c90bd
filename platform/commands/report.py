"""`parley report`: a run as one HTML file that needs nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import cast

from parley.platform.commands.targets import workflow_at
from parley.platform.errors import EXIT_DONE, InputError, display_path
from parley.platform.settings.dispatch import functions_of, load_function

ReportFunction = Callable[[Path, Path | None], Path]
"""(run, file to write or None) -> the file written."""


def run_report(arguments: argparse.Namespace) -> int:
    """Write the report of the run at `arguments.path` and say where it lies."""
    out: Path | None = arguments.out
    workflow = workflow_at(arguments.path)
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}; make it first")
    report = cast("ReportFunction", load_function(functions_of(workflow).report))
    print(f"report: {display_path(report(arguments.path, out))}")
    return EXIT_DONE
