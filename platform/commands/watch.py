"""`parley watch`: one episode of a trained policy, in a window or as a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import cast

from parley.platform.commands.dispatch import functions_of, load_function
from parley.platform.commands.targets import workflow_at
from parley.platform.config.errors import display_path
from parley.platform.errors import EXIT_DONE, InputError

WatchFunction = Callable[[Path, Path | None, int], Path | None]


def run_watch(arguments: argparse.Namespace) -> int:
    """Show the episode of `arguments.seed`; say where it lies if it went into a file."""
    out: Path | None = arguments.out
    workflow = workflow_at(arguments.path)
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}; make it first")
    watch = cast("WatchFunction", load_function(functions_of(workflow).watch))
    written = watch(arguments.path, out, arguments.seed)
    if written is not None:
        print(f"episode: {display_path(written)}")
    return EXIT_DONE
