"""Standard output and error whose reader may leave, as `head` does: the work goes on to its end."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO


class _LastingFile(io.FileIO):
    """A descriptor that is written to; from the moment its pipe is closed, to nowhere."""

    def write(self, content: object, /) -> int:
        """Write, or drop what nobody reads."""
        try:
            return super().write(content)  # type: ignore[arg-type]
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # child processes have the descriptor, too
            os.close(nowhere)
            return super().write(content)  # type: ignore[arg-type]


@contextmanager
def lasting_output() -> Iterator[None]:
    """In this block no print fails because a reader of standard output or error has left.

    Streams that something else has put in their place, such as a test, stay as they are.
    """
    with ExitStack() as undo:
        if sys.stdout is sys.__stdout__ and sys.stdout is not None:
            sys.stdout = undo.enter_context(_replaced(sys.stdout))
            undo.callback(setattr, sys, "stdout", sys.__stdout__)
        if sys.stderr is sys.__stderr__ and sys.stderr is not None:
            sys.stderr = undo.enter_context(_replaced(sys.stderr))
            undo.callback(setattr, sys, "stderr", sys.__stderr__)
        yield


@contextmanager
def _replaced(stream: TextIO) -> Iterator[TextIO]:
    """The same descriptor under a file that outlives its pipe; flushed at the end."""
    stream.flush()
    file = _LastingFile(stream.fileno(), "wb", closefd=False)
    lasting = io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.isatty() or stream is sys.__stderr__,
    )
    try:
        yield lasting
    finally:
        lasting.flush()
        lasting.detach()
