"""Lines that native code writes to standard error without asking, kept off it by their words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STDERR = 2
DRAIN_S = 1.0
"""How long what was written in the block may take to come out after it."""


@contextmanager
def native_lines_dropped(words: str) -> Iterator[None]:
    """In this block nothing reaches descriptor 2 of a line that holds `words`.

    All other lines do, also where the process is aborted by what it says in the last of them: they
    go through a process that reads on. Where the system has no `grep`, all lines come.
    """
    sys.stderr.flush()
    try:
        sieve = subprocess.Popen(
            ["grep", "--text", "--line-buffered", "--fixed-strings", "--invert-match", words],
            stdin=subprocess.PIPE,
            stdout=STDERR,
            start_new_session=True,  # Ctrl-C is not for it
        )
    except OSError:
        yield
        return
    assert sieve.stdin is not None
    kept = os.dup(STDERR)
    os.dup2(sieve.stdin.fileno(), STDERR)
    sieve.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, STDERR)
        os.close(kept)
        # A process begun in the block may have the descriptor: the sieve then ends with it.
        with suppress(subprocess.TimeoutExpired):
            sieve.wait(DRAIN_S)
