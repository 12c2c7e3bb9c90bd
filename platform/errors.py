"""The errors that a person can act on, and the exit code each of them stands for."""

from __future__ import annotations

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
