"""`parley data prepare`: files of repairs and preferences to pairs, split by conversation."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from parley.platform.commands.tables import print_rows
from parley.platform.errors import EXIT_DONE, display_path
from parley.platform.maxims.pairs.folder import check_target, write_folder
from parley.platform.maxims.pairs.pair import PreferencePair
from parley.platform.maxims.pairs.preparing import Preparation, Remark, prepare_pairs
from parley.platform.maxims.pairs.reading_sets import load_reading_sets

DROPPED, WARNINGS = "dropped.jsonl", "warnings.jsonl"


def run_data(arguments: argparse.Namespace) -> int:
    """Prepare the pairs and print what became of the rows.

    Raises:
        InputError: the input cannot be used, or the folder may not be written; nothing is written.
    """
    out: Path = arguments.out
    check_target(out, arguments.force)
    reading_sets = load_reading_sets(arguments.reading_sets) if arguments.reading_sets else None
    prepared = prepare_pairs(arguments.inputs, arguments.split, arguments.seed, reading_sets)
    remarks = {DROPPED: prepared.dropped}
    if prepared.warnings:
        remarks[WARNINGS] = prepared.warnings
    write_folder(
        out,
        prepared.split,
        arguments.format,
        {name: [remark.to_dict() for remark in found] for name, found in remarks.items()},
        {
            "split": arguments.split,
            "seed": arguments.seed,
            "format": arguments.format,
            **_summarise(prepared),
        },
    )
    _print_pairs(prepared)
    _print_check(prepared)
    _print_remarks(prepared, out)
    print(f"written: {display_path(out)} (load_dataset gives the splits train and test)")
    return EXIT_DONE


def _summarise(prepared: Preparation) -> dict[str, object]:
    """The figures that go to `summary.json`."""
    split = prepared.split
    sides = {"train": split.training, "test": split.heldout}
    return {
        "pairs": {name: len(pairs) for name, pairs in sides.items()},
        "pairs_by_maxim": {name: _by_maxim(pairs) for name, pairs in sides.items()},
        "conversations": {name: _num_conversations(pairs) for name, pairs in sides.items()},
        "check": prepared.check.to_dict(),
        "dropped": _by_reason(prepared.dropped),
        "warnings": _by_reason(prepared.warnings),
        "labelled": prepared.labelled,
        "evidence_pointers": prepared.pointers,
        "inputs": [
            {"file": str(file.path), "sha256": file.sha256, "rows": file.num_rows}
            for file in prepared.files
        ],
    }


def _print_pairs(prepared: Preparation) -> None:
    """Pairs and conversations of the two sides, by maxim."""
    training, heldout = prepared.split.training, prepared.split.heldout
    train, test = _by_maxim(training), _by_maxim(heldout)
    rows: list[tuple[str, ...]] = [("maxim", "train", "test")]
    rows += [_row(name, train.get(name, 0), test.get(name, 0)) for name in {**train, **test}]
    rows.append(_row("all pairs", len(training), len(heldout)))
    rows.append(_row("conversations", *map(_num_conversations, (training, heldout))))
    print_rows(rows)
    share = len(heldout) / (len(training) + len(heldout))
    print(f"held out: {share:.1%} of the pairs")


def _print_check(prepared: Preparation) -> None:
    """What both sides have in common, a line each."""
    check = prepared.check
    print("\ncheck, on both sides")
    rows = [(name.replace("_", " "), f"{count:,}") for name, count in check.leaks.items()]
    rows.append(("responses chosen here, rejected there", f"{check.crossed_responses:,}"))
    rows.append(("shared stock rejected responses", f"{check.shared_rejected:,}"))
    print_rows(rows, indent="  ")
    stock = check.heldout_pairs_with_shared_rejected
    print(
        f"  ({stock:,} of {check.heldout_pairs:,} held-out pairs, "
        f"{stock / check.heldout_pairs:.1%}, reject a sentence that training rejects, too)"
    )


def _print_remarks(prepared: Preparation, out: Path) -> None:
    """Labels given, evidence left, rows dropped and odd ones kept."""
    print()
    for rule, count in prepared.labelled.items():
        print(f"maxim taken from repairs, {rule}: {count:,}")
    pointers = prepared.pointers
    print(f"evidence pointers: {pointers['kept']:,} kept, {pointers['resolved']:,} resolved")
    for name, verb, remarks in (
        (DROPPED, "dropped", prepared.dropped),
        (WARNINGS, "kept with a warning", prepared.warnings),
    ):
        listed = f", listed in {display_path(out / name)}" if remarks else ""
        print(f"{verb}: {len(remarks):,} rows{listed}")
        print_rows([(f"{n:,}", why) for why, n in _by_reason(remarks).items()], indent="  ")


def _by_reason(remarks: list[Remark]) -> dict[str, int]:
    """How often each reason stands, duplicates together, the most frequent first."""
    reasons = ("duplicate" if _is_duplicate(remark) else remark.reason for remark in remarks)
    return dict(Counter(reasons).most_common())


def _is_duplicate(remark: Remark) -> bool:
    return remark.reason.startswith("duplicate of ")


def _by_maxim(pairs: list[PreferencePair]) -> dict[str, int]:
    counts = Counter(pair.maxim for pair in pairs)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _num_conversations(pairs: list[PreferencePair]) -> int:
    return len({pair.conversation for pair in pairs})


def _row(name: str, train: int, test: int) -> tuple[str, ...]:
    return name, f"{train:,}", f"{test:,}"
