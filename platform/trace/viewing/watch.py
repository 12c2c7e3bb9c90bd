"""`parley watch` of a trace run: one held-out trace next to the true one, with the beliefs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from parley.platform.errors import InputError
from parley.platform.runs.files import atomic_write_text
from parley.platform.trace.evaluation.measure import check_reach, load_tracer
from parley.platform.trace.viewing.layout import format_view, plain_view
from parley.platform.trace.viewing.page import render_view_page
from parley.platform.trace.viewing.picture import draw_view
from parley.platform.trace.viewing.replay import view_trace
from parley.platform.trace.viewing.view import TraceView

TEXT_WIDTH = 100
"""Characters of a line where there is no terminal to ask."""
SUFFIXES = (".html", ".png", ".txt")


def watch_path(path: Path, out: Path | None, seed: int, size: int | None = None) -> Path | None:
    """Show how a run's best model writes the trace of one held-out input.

    Args:
        path: run or checkpoint.
        out: file to write (`.png`, `.html` or `.txt`); None: standard output, coloured where it is
            a terminal.
        seed: chooses the input.
        size: of the input; None: the largest that was trained.

    Returns:
        The file that was written, or None.

    Raises:
        InputError: the file's kind is unknown, or nothing is held out of the size.
        CheckpointError: there is no sound checkpoint of a trace run.
    """
    if out is not None and out.suffix not in SUFFIXES:
        raise InputError(f"--out {out}: write a .png (a picture), an .html or a .txt file")
    view = _view(path, seed, size)
    if out is None:
        _print(view)
    elif out.suffix == ".png":
        draw_view(view, out)
    elif out.suffix == ".html":
        atomic_write_text(out, render_view_page(view))
    else:
        atomic_write_text(out, plain_view(view, TEXT_WIDTH) + "\n")
    return out


def _view(path: Path, seed: int, size: int | None) -> TraceView:
    tracer = load_tracer(path)
    chosen = max(tracer.task.trained_sizes) if size is None else size
    check_reach(tracer.model, tracer.task.language, [chosen])
    inputs = tracer.task.draw_heldout(chosen, 1, seed)
    return view_trace(tracer.model, tracer.task.language, chosen, inputs[0])


def _print(view: TraceView) -> None:
    """Coloured and as wide as the terminal, or plain."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(format_view(view, console.width), soft_wrap=True)
    else:
        print(plain_view(view, TEXT_WIDTH))
