"""Dialogues of a run to read on the terminal, each token coloured by its NLL, or as plain text."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from parley.platform.errors import InputError, display_path
from parley.platform.runs.files import atomic_write_text
from parley.platform.runs.kinds import find_run
from parley.platform.runs.run_folder import METRICS_FILE, RESULT_FILE
from parley.platform.runs.transcripts import (
    OPENER,
    TRANSCRIPTS_FILE,
    Transcript,
    TranscriptTurn,
    figures_of,
    format_transcript,
    printable,
    read_transcripts,
    seat_letters,
    title_of,
)

NUM_SHOWN = 5
"""Iterations that are shown unless more are asked for: the first, the last and some between."""

FOLLOW_INTERVAL_S = 1.0

NLL_STYLES = ((1.0, "dim"), (3.0, ""), (5.0, "yellow"), (8.0, "dark_orange"), (math.inf, "red"))
"""Nats below which a token is written in a style; the first that fits."""

Show = Callable[[Transcript], None]


def watch_path(
    path: Path,
    out: Path | None,
    seed: int,
    iteration: int | None = None,
    show_all: bool = False,
    follow: bool = False,
) -> Path | None:
    """Show dialogues of a run in the order of its iterations, or the answers of a tuned generator.

    Args:
        path: run, or checkpoint inside one.
        out: text file to write; None: standard output, coloured where it is a terminal.
        seed: chooses the dialogue where an iteration kept several and one is shown.
        iteration: show all that was kept of this one; None: one each of the first iteration, the
            last and some between.
        show_all: show all that was kept.
        follow: show dialogues as they come, until the run ends.

    Returns:
        The file that was written, or None.

    Raises:
        InputError: no dialogue was kept yet, or none of `iteration`.
    """
    file = _find_transcripts(path)
    if out is not None:
        chosen = _choose(file, seed, iteration, show_all)
        text = "\n\n".join(f"{title_of(item)}\n{format_transcript(item)}" for item in chosen)
        atomic_write_text(out, text + "\n")
        return out
    show = _make_show()
    if follow:
        _follow(file, show)
    else:
        for transcript in _choose(file, seed, iteration, show_all):
            show(transcript)
    return None


def choose_iterations(transcripts: Sequence[Transcript], num: int) -> list[int]:
    """At most `num` iterations that kept a dialogue: the first, the last, and evenly between."""
    found = sorted({transcript.iteration for transcript in transcripts})
    if len(found) <= num:
        return found
    steps = max(1, num - 1)
    return [found[round(step * (len(found) - 1) / steps)] for step in range(num)]


def _find_transcripts(path: Path) -> Path:
    """The file of the run at `path` or around it."""
    file = (find_run(path) or path) / TRANSCRIPTS_FILE
    if file.is_file():
        return file
    raise InputError(
        f"{display_path(path)} has no {TRANSCRIPTS_FILE}: a run of dialogue/distort writes it from "
        f"its first iteration on; wait for it, or name another run"
    )


def _choose(file: Path, seed: int, iteration: int | None, show_all: bool) -> list[Transcript]:
    transcripts = read_transcripts(file)
    if not transcripts:
        raise InputError(f"{display_path(file)} holds no dialogue yet; wait for the first one")
    if iteration is not None:
        chosen = [item for item in transcripts if item.iteration == iteration]
        if not chosen:
            known = sorted({item.iteration for item in transcripts})
            nearest = min(known, key=lambda other: abs(other - iteration))
            raise InputError(
                f"--iteration {iteration}: {display_path(file)} holds no dialogue of it; it has "
                f"{len(known)} iterations from {known[0]} to {known[-1]}, the nearest is {nearest}"
            )
        return chosen
    if show_all:
        return transcripts
    chosen = []
    for number in choose_iterations(transcripts, NUM_SHOWN):
        kept = [item for item in transcripts if item.iteration == number]
        chosen.append(kept[seed % len(kept)])
    return chosen


def _follow(file: Path, show: Show) -> None:
    """Show what is there and what comes, until the result is newer than the last metrics."""
    num_shown = 0
    while True:
        over = _is_over(file.parent)
        transcripts = read_transcripts(file)
        for transcript in transcripts[num_shown:]:
            show(transcript)
        num_shown = len(transcripts)
        if over:
            return
        sys.stdout.flush()
        time.sleep(FOLLOW_INTERVAL_S)


def _is_over(folder: Path) -> bool:
    """Whether a result was written after the last row of metrics."""
    result, metrics = folder / RESULT_FILE, folder / METRICS_FILE
    if not result.is_file():
        return False
    return not metrics.is_file() or result.stat().st_mtime_ns >= metrics.stat().st_mtime_ns


def _make_show() -> Show:
    """How a dialogue is written on standard output: coloured on a terminal, plain elsewhere."""
    console = Console()
    if not console.is_terminal:
        return _print_plain
    console.print(_legend())
    return lambda transcript: _print_coloured(console, transcript)


def _print_plain(transcript: Transcript) -> None:
    print(f"{title_of(transcript)}\n{format_transcript(transcript)}\n")


def _print_coloured(console: Console, transcript: Transcript) -> None:
    console.print()
    console.print(Text(title_of(transcript), style="bold"))
    letters = seat_letters(turn.seat for turn in transcript.turns if turn.seat != OPENER)
    for turn in transcript.turns:
        label = "" if turn.seat == OPENER else f"{letters[turn.seat]}: "
        line = Text.assemble((label, "bold"), *_coloured(turn))
        if figures := figures_of(turn):
            line.append(f"  [{figures}]", style="cyan")
        console.print(line, soft_wrap=True)


def _coloured(turn: TranscriptTurn) -> Iterator[tuple[str, str]]:
    if not turn.text:
        yield "(says nothing)", "italic"
    elif turn.nll is None:
        yield printable(turn.text), ""
    else:
        for piece, nll in zip(turn.pieces, turn.nll, strict=True):
            yield printable(piece), _style(nll)


def _style(nll: float) -> str:
    return next((style for limit, style in NLL_STYLES if nll < limit), "reverse")


def _legend() -> Text:
    """What the colours mean, in the colours."""
    line = Text("nats per token under the competitor: ")
    for limit, style in NLL_STYLES:
        name = f" below {limit:g} " if limit < math.inf else " more "
        line.append(name, style=style)
    return line
