"""Long work before training that a stop does not undo: what was done is kept, and resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from parley.platform.records import State
from parley.platform.runs.state_tree import load_tree, save_tree
from parley.platform.runs.stopping import StopOverdue, StopSignal

SUFFIXES = (".safetensors", ".json")
"""The files of a state; the last one is there where both are whole."""


class ResumableTask(Protocol):
    """Work in steps, each a function of the state before it."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""

    @property
    def is_whole(self) -> bool:
        """Whether the state is that between two steps, also if it was interrupted within one."""

    def run(self, is_stopping: Callable[[], bool]) -> bool:
        """Do what is left, until `is_stopping`, which is asked before each step."""

    def state_for_resume(self) -> State:
        """What is done, as plain values and arrays, see `state_tree`."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_for_resume`."""


def complete(task: ResumableTask, stem: Path, stop: StopSignal, say: Callable[[str], None]) -> bool:
    """Do what is left of a task; give whether there was anything.

    Args:
        task: to bring to its end.
        stem: where its state lies, or is kept when it is stopped.
        stop: ends it after the step in progress, or within that when its grace is over.
        say: is told of trouble.

    Raises:
        KeyboardInterrupt: stopped; what was done stands below `stem`.
    """
    stored = read_state(stem, say)
    if stored is not None:
        task.restore(stored)
    if task.is_done:
        return False
    try:
        with stop.interrupting():
            task.run(lambda: stop.received)
    except StopOverdue as overdue:
        if not task.is_whole:
            say("the step in progress was given up, and those before it could not be kept")
            raise KeyboardInterrupt from overdue
    if not task.is_done:
        keep_state(task, stem)
        raise KeyboardInterrupt
    return True


def keep_state(task: ResumableTask, stem: Path) -> None:
    """Written aside and renamed, last the file by whose presence both are known to be whole."""
    partial = stem.with_name(f".{stem.name}")
    save_tree(task.state_for_resume(), partial)
    for suffix in SUFFIXES:
        partial.with_suffix(suffix).replace(stem.with_suffix(suffix))


def read_state(stem: Path, say: Callable[[str], None]) -> State | None:
    """What `keep_state` wrote; None where it wrote nothing, or where that is damaged."""
    if not stem.with_suffix(SUFFIXES[-1]).is_file():
        return None
    try:
        stored: State = load_tree(stem)
    except ValueError as error:
        say(f"{error}; doing it again")
        return None
    return stored


def forget_state(stem: Path) -> None:
    """Remove it; nobody goes on from it any more."""
    for suffix in reversed(SUFFIXES):
        stem.with_suffix(suffix).unlink(missing_ok=True)
