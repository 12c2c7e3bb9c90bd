"""The errors that a person can act on, their exit codes, and how they name a path."""

from __future__ import annotations

from pathlib import Path

EXIT_DONE = 0
EXIT_RUN_FAILED = 1
EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 130


class ParleyError(Exception):
    """A failure explained in one paragraph; the command line prints it without a traceback."""

    exit_code: int = EXIT_RUN_FAILED


class InputError(ParleyError, ValueError):
    """Wrong usage or input: nothing was started, and the message says what to write instead."""

    exit_code = EXIT_WRONG_INPUT


def display_path(path: Path) -> str:
    """The path relative to the working directory where it lies below it, else in full."""
    resolved = path.resolve()
    try:
        return str(resolved.relative_to(Path.cwd()))
    except ValueError:
        return str(resolved)
