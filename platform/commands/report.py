"""`parley report`: a run as one HTML file that needs nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import cast

from parley.platform.errors import EXIT_DONE, InputError, display_path
from parley.platform.runs.kinds import experiment_at
from parley.platform.settings.experiments import load_function

ReportFunction = Callable[[Path, Path | None], Path]
"""(run, file to write or None) -> the file written."""
WRITE_REPORT = "parley.platform.report.report:write_report"


def run_report(arguments: argparse.Namespace) -> int:
    """Write the report of the run at `arguments.path` and say where it lies."""
    out: Path | None = arguments.out
    experiment_at(arguments.path)
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}; make it first")
    report = cast("ReportFunction", load_function(WRITE_REPORT))
    print(f"report: {display_path(report(arguments.path, out))}")
    return EXIT_DONE
