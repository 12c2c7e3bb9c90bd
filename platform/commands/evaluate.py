"""`parley evaluate`: the figures of a trained policy, as a table and as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from parley.platform.commands.tables import print_meanings, print_metrics
from parley.platform.errors import EXIT_DONE, InputError
from parley.platform.runs.files import atomic_write_text, to_json
from parley.platform.runs.kinds import experiment_at
from parley.platform.settings.experiments import load_function
from parley.platform.terminal.progress import Progress
from parley.platform.terminal.quiet import quiet_libraries

EvaluateFunction = Callable[..., Mapping[str, object]]
"""(run or checkpoint, episodes, seed; data, overrides where the workflow takes them) -> figures."""


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Measure the policy at `arguments.path`; write the figures where asked, and print them."""
    out: Path | None = arguments.json
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--json {out}: there is no folder {out.parent}; make it first")
    metrics = measure(
        arguments.path, arguments.episodes, arguments.seed, arguments.data, arguments.overrides
    )
    if out is not None:
        atomic_write_text(out, to_json(metrics, indent=2) + "\n")
    print_metrics(metrics)
    print_meanings(metrics)
    return EXIT_DONE


def measure(
    path: Path,
    episodes: int | None,
    seed: int | None,
    data: Path | None,
    overrides: Sequence[str] = (),
) -> Mapping[str, object]:
    """The figures of a run or checkpoint.

    Raises:
        InputError: there is none, or its workflow takes no data or overrides.
    """
    kind, row = experiment_at(path)
    name = "/".join(kind)
    if data is not None and not row.evaluates_data:
        raise InputError(f"runs of {name} are measured by playing and take no --data; leave it out")
    if overrides and not row.names_inputs:
        raise InputError(
            f"runs of {name} are measured with nothing but their checkpoint: leave out "
            f"{overrides[0]}"
        )
    quiet_libraries()
    more: dict[str, object] = {"data": data, "overrides": overrides}
    more = {name: value for name, value in more.items() if value}
    evaluate = cast("EvaluateFunction", load_function(row.evaluate))
    with Progress(()) as progress, progress.status("evaluating"):
        return evaluate(path, episodes, seed, **more)
