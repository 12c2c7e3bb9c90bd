"""What shortcuts reach on preference pairs: `python -m benchmarks.preference_shortcuts [FOLDER]`.

FOLDER is what `parley data prepare` wrote; without it, pairs are generated from small talk. No rule
reads the prompt, so whatever it reaches says nothing about cooperation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.preference_baselines import measure_shortcuts
from parley.platform.commands.tables import print_rows
from parley.platform.cooperate.evaluation.preference_accuracy import PreferenceAccuracy
from parley.platform.maxims.pairs.folder import read_pairs
from parley.platform.maxims.pairs.generated import generate_pairs
from parley.platform.report.intervals import Rate
from parley.platform.runs.files import atomic_write_text, to_json


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each shortcut."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", help="prepared pairs")
    parser.add_argument("--num-pairs", type=int, default=2_000, help="generated without FOLDER")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures here")
    arguments = parser.parse_args(argv)
    folder: Path | None = arguments.folder
    split = read_pairs(folder) if folder else generate_pairs(arguments.num_pairs, seed=0)
    print(f"{len(split.training):,} pairs to learn from, {len(split.heldout):,} held out")
    measured = measure_shortcuts(split)
    maxims = list(next(iter(measured.values())).by_maxim)
    head = ("shortcut", "accuracy", "95 % interval", "length-controlled", *maxims)
    print_rows([head, *(_row(name, accuracy) for name, accuracy in measured.items())])
    if arguments.json is not None:
        metrics = {name: accuracy.metrics() for name, accuracy in measured.items()}
        atomic_write_text(arguments.json, to_json(metrics, indent=2))
    return 0


def _row(name: str, measured: PreferenceAccuracy) -> tuple[str, ...]:
    low, high = measured.accuracy.interval
    return (
        name,
        _percent(measured.accuracy),
        f"{low:.1%} to {high:.1%}",
        _percent(measured.length_controlled),
        *map(_percent, measured.by_maxim.values()),
    )


def _percent(rate: Rate) -> str:
    return f"{rate.value:.1%}"


if __name__ == "__main__":
    raise SystemExit(main())
