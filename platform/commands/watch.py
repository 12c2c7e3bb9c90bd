"""`parley watch`: an episode or a trace of a trained policy, or the dialogues that a run kept."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import cast

from parley.platform.errors import EXIT_DONE, InputError, display_path
from parley.platform.runs.kinds import experiment_at
from parley.platform.settings.experiments import load_function

WatchFunction = Callable[..., Path | None]
"""(run or checkpoint, file to write or None, seed, options by name) -> the file written."""

OPTION_FLAGS = {
    "iteration": "--iteration",
    "show_all": "--all",
    "follow": "--follow",
    "size": "--size",
}
"""Options that only some workflows have -> their flags."""
CHOICES = {"size": "traces of several sizes"}
"""What an option chooses from, where that is no dialogues."""


def run_watch(arguments: argparse.Namespace) -> int:
    """Show the episode of `arguments.seed`; say where it lies if it went into a file.

    Raises:
        InputError: a flag does not fit the workflow or another flag.
    """
    out: Path | None = arguments.out
    (workflow, _), row = experiment_at(arguments.path)
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}; make it first")
    options = _given_options(arguments)
    for name in sorted(options.keys() - row.watch_options):
        raise InputError(
            f"{OPTION_FLAGS[name]}: {workflow} runs keep no {CHOICES.get(name, 'dialogues')} to "
            f"choose from; leave it out"
        )
    if out is not None and "follow" in options:
        raise InputError(f"--out {out} writes what is there now; leave out --out or --follow")
    watch = cast("WatchFunction", load_function(row.watch))
    written = watch(arguments.path, out, arguments.seed, **options)
    if written is not None:
        print(f"{row.watched}: {display_path(written)}")
    return EXIT_DONE


def _given_options(arguments: argparse.Namespace) -> dict[str, object]:
    """The options of `OPTION_FLAGS` that stand on the command line; they cannot be combined."""
    values = {name: getattr(arguments, name) for name in OPTION_FLAGS}
    given = {name: value for name, value in values.items() if value not in (None, False)}
    if len(given) > 1:
        flags = " and ".join(OPTION_FLAGS[name] for name in given)
        raise InputError(f"{flags} say different things; choose one of them")
    return given
