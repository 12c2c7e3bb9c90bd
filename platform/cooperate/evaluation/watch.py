"""The answers of a tuned generator and of what it is compared with, to read on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from parley.platform.cooperate.evaluation.metrics import TUNED
from parley.platform.cooperate.evaluation.report import obstacle_of, read_evaluation
from parley.platform.errors import InputError, display_path
from parley.platform.runs.files import atomic_write_text
from parley.platform.runs.kinds import find_run
from parley.platform.runs.transcripts import printable

NUM_SHOWN = 5
"""Prompts that are shown unless all are asked for."""
NAME_WIDTH = 17
"""Columns for a system's name."""


def watch_path(
    path: Path,
    out: Path | None,
    seed: int,
    iteration: int | None = None,
    show_all: bool = False,
    follow: bool = False,
) -> Path | None:
    """Show prompts with every system's answer and what the judge flagged in it.

    The arguments are those of `distort.viewing.watch.watch_path`; an evaluation has no iterations
    to choose from, nothing is added to it that could be followed, and `seed` chooses other prompts.

    Raises:
        InputError: an iteration was named, or no answer was kept.
    """
    folder = find_run(path) or path
    if iteration is not None:
        raise InputError(
            f"--iteration {iteration}: the answers in {display_path(folder)} are those of one "
            f"evaluation; leave it out"
        )
    evaluation = read_evaluation(folder)
    samples = evaluation["samples"] if evaluation else []
    if not samples:
        raise InputError(
            f"{display_path(folder)} holds no answers to show yet; `parley evaluate` writes them"
        )
    if not show_all:
        step = max(1, len(samples) // NUM_SHOWN)
        places = [(seed + i * step) % len(samples) for i in range(min(NUM_SHOWN, len(samples)))]
        samples = [samples[place] for place in places]
    obstacle = obstacle_of(evaluation["metrics"]) if evaluation else ""
    note = [f"No verdict: {obstacle}"] if obstacle else []
    if out is not None:
        text = "\n\n".join([*note, *(format_sample(sample).plain for sample in samples)])
        atomic_write_text(out, text + "\n")
        return out
    console = Console(highlight=False)
    for line in note:
        console.print(line, soft_wrap=True, markup=False)
        console.print()
    for sample in samples:
        console.print(format_sample(sample), soft_wrap=True)
        console.print()
    return None


def format_sample(sample: Mapping[str, Any]) -> Text:
    """A prompt and the answers to it, a line each; nothing in it can command the terminal."""
    text = Text.assemble((printable(str(sample.get("context", ""))), "italic"))
    for line in _answer_lines(sample.get("answers") or {}):
        text.append("\n")
        text.append_text(line)
    return text


def _answer_lines(answers: Mapping[str, Any]) -> Iterator[Text]:
    for name, answer in answers.items():
        said = printable(str(answer.get("text", ""))) or "(says nothing)"
        found = [printable(str(maxim)) for maxim in answer.get("violations") or ()]
        verdict = (f"  [{', '.join(found)}]", "red") if found else ("  [cooperative]", "green")
        label = f"{printable(str(name)).replace('_', ' '):<{NAME_WIDTH}}"
        yield Text.assemble((label, "bold" if name == TUNED else "dim"), said, verdict)
