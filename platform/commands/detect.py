"""`parley detect`: violated maxims of responses in a file, and the scores where it has labels."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from parley.platform.commands.tables import print_rows
from parley.platform.errors import EXIT_DONE, InputError, display_path
from parley.platform.maxims.text.exchange import MAXIMS
from parley.platform.records import Metrics, Row
from parley.platform.runs.files import atomic_write_text, to_json
from parley.platform.settings.experiments import load_function
from parley.platform.terminal.progress import Progress
from parley.platform.terminal.quiet import quiet_libraries

if TYPE_CHECKING:
    from parley.platform.maxims.detection import Detection

DETECT = "parley.platform.maxims.detection:detect_file"
MAX_LISTED_ROWS = 20
"""With more rows the summary alone is printed."""
MAX_LISTED_PROBLEMS = 10
MAX_SHOWN_LETTERS = 60


def run_detect(arguments: argparse.Namespace) -> int:
    """Judge the rows of `arguments.file`; write the findings where asked, and print them."""
    for option, out in (("--json", arguments.json), ("--rows", arguments.rows)):
        if out is not None and not out.parent.is_dir():
            raise InputError(f"{option} {out}: there is no folder {out.parent}; make it first")
    quiet_libraries()
    detect = cast("Callable[[Path, str], Detection]", load_function(DETECT))
    with Progress(()) as progress, progress.status("judging"):
        detection = detect(arguments.file, arguments.detector)
    if arguments.json is not None:
        atomic_write_text(arguments.json, to_json(detection.metrics, indent=2) + "\n")
    if arguments.rows is not None:
        lines = (to_json(row) + "\n" for row in _written_rows(detection))
        atomic_write_text(arguments.rows, "".join(lines))
    _print_fitness(detection)
    _print_problems(detection)
    if len(detection.source.rows) <= MAX_LISTED_ROWS:
        _print_findings(detection)
    _print_summary(detection)
    return EXIT_DONE


def _print_fitness(detection: Detection) -> None:
    """What is to be known before any finding."""
    metrics = detection.metrics
    if metrics["no_verdict"]:
        print(f"NO VERDICT: {metrics['no_verdict']}\n")
    elif not metrics["clean_rows"]:
        print(
            "No response of people, and no turn before the responses, stands in the file: nobody "
            "can tell how many findings are false alarms.\n"
        )


def _print_problems(detection: Detection) -> None:
    problems = detection.source.problems
    if not problems:
        return
    print(f"{len(problems)} rows cannot be judged:", file=sys.stderr)
    for problem in problems[:MAX_LISTED_PROBLEMS]:
        line = f"  {display_path(problem.path)}, {problem.place}: {problem.reason}"
        print(line, file=sys.stderr)
    if len(problems) > MAX_LISTED_PROBLEMS:
        print(f"  and {len(problems) - MAX_LISTED_PROBLEMS} more", file=sys.stderr)


def _print_findings(detection: Detection) -> None:
    rows = []
    found = detection.found
    clean = "nothing found" if detection.metrics["no_verdict"] else "cooperative"
    for number, row in enumerate(detection.source.rows):
        names = [
            f"{maxim} {detection.scores[number, column]:.2f}"
            for column, maxim in enumerate(MAXIMS)
            if found[number, column]
        ]
        response = row.exchange.response
        if len(response) > MAX_SHOWN_LETTERS:
            response = response[: MAX_SHOWN_LETTERS - 1] + "…"
        rows.append((row.place, ", ".join(names) or clean, response))
    print_rows(rows)
    print()


def _print_summary(detection: Detection) -> None:
    metrics = detection.metrics
    num_rows = metrics["rows"]
    print(f"{num_rows} rows, {_rate(metrics, 'flag_rate')} of them flagged")
    if "human_rows" in metrics:
        print(
            f"{metrics['human_rows']} responses of people next to them, "
            f"{_rate(metrics, 'human_flag_rate')} flagged"
        )
    if detection.num_known:
        print(
            f"rows of known conversations are judged by models that did not see them: "
            f"{detection.num_known} of {num_rows}"
        )
    print()
    if not metrics["labelled_rows"]:
        rates = metrics["flag_rate_by_maxim"]
        print_rows([("maxim", "flagged"), *((maxim, f"{rates[maxim]:.1%}") for maxim in MAXIMS)])
        return
    print_rows(_maxim_table(metrics))
    print()
    kinds = metrics["by_type"].items()
    print_rows(
        [
            ("type", "rows", "found", "flagged"),
            *(_cells(name, row, "recall") for name, row in kinds),
        ]
    )
    print()
    lengths = metrics["by_length"].items()
    head = ("length", "rows", "macro F1", "flagged")
    print_rows([head, *(_cells(name, row, "macro_f1") for name, row in lengths)])


def _maxim_table(metrics: Metrics) -> list[tuple[str, ...]]:
    """Precision, recall, F1 and its interval of each maxim, and the macro-F1."""
    rows: list[tuple[str, ...]] = [
        ("maxim", "violations", "precision", "recall", "F1", "95 % interval")
    ]
    for maxim in MAXIMS:
        if not metrics["violations_by_maxim"][maxim]:
            rows.append((maxim, "0", *("-",) * 4))
            continue
        figures = (metrics[f"{name}_by_maxim"][maxim] for name in ("precision", "recall", "f1"))
        low, high = metrics["f1_by_maxim_ci95"][maxim]
        number = str(metrics["violations_by_maxim"][maxim])
        rows.append((maxim, number, *(f"{x:.3f}" for x in figures), f"{low:.3f} to {high:.3f}"))
    if metrics["macro_f1"] is not None:
        low, high = metrics["macro_f1_ci95"]
        interval = f"{low:.3f} to {high:.3f}"
        rows.append(("macro", "", "", "", f"{metrics['macro_f1']:.3f}", interval))
    return rows


def _cells(name: str, row: Row, measure: str) -> tuple[str, ...]:
    value = row.get(measure)
    figure = "-" if value is None else f"{value:.3f}"
    return name, str(row["rows"]), figure, f"{row['flagged']:.1%}"


def _rate(metrics: Metrics, name: str) -> str:
    low, high = metrics[f"{name}_ci95"]
    return f"{metrics[name]:.1%} (95 % interval {low:.1%} to {high:.1%})"


def _written_rows(detection: Detection) -> list[Row]:
    """One object for each row: where it stands, its probabilities, what is found, its labels."""
    written = []
    for row, scores, found in zip(
        detection.source.rows, detection.scores, detection.found, strict=True
    ):
        written.append(
            {
                "place": row.place,
                "probabilities": dict(zip(MAXIMS, scores.tolist(), strict=True)),
                "violations": [maxim for maxim, hit in zip(MAXIMS, found, strict=True) if hit],
                "labels": None
                if row.labels is None
                else dict(zip(MAXIMS, row.labels, strict=True)),
                "violation_type": row.violation_type,
            }
        )
    return written
