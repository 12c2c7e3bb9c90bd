"""A line of native code is kept off standard error, and nothing else is lost."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest

from parley.platform.terminal.progress import Column, Progress

PROGRAM = """
import os, sys
from parley.platform.terminal.native_lines import native_lines_dropped
print("before", file=sys.stderr)
with native_lines_dropped("LOG_LEVEL"):
    os.write(2, b"logging.cc: from LOG_LEVEL to 3\\n")
    os.write(2, b"a warning \\xff\\n")
    print("an error of Python", file=sys.stderr)
    if len(sys.argv) > 1:
        os.write(2, b"check failed\\n")
        os.abort()
os.write(2, b"LOG_LEVEL afterwards\\n")
"""


def run(*arguments: str, **environment: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stderr.decode(errors="replace").splitlines()


def test_one_line_is_dropped_and_the_others_keep_their_order() -> None:
    code, lines = run()
    assert code == 0
    assert lines == ["before", "a warning \ufffd", "an error of Python", "LOG_LEVEL afterwards"]


def test_what_an_aborting_process_says_last_comes_out() -> None:
    code, lines = run("abort")
    assert code != 0
    assert lines[-1] == "check failed"
    assert not any("LOG_LEVEL" in line for line in lines)


def test_without_a_sieve_all_lines_come() -> None:
    code, lines = run(PATH="")
    assert code == 0
    assert "logging.cc: from LOG_LEVEL to 3" in lines and "an error of Python" in lines


@pytest.mark.parametrize("is_live", [True, False])
def test_progress_goes_on_beside_a_standard_error_that_is_led_elsewhere(is_live: bool) -> None:
    if not is_live:
        plain = io.StringIO()
        with Progress([Column("x", "x")], stream=plain) as progress, progress.apart_from_stderr():
            progress.say("plain")
        assert "plain" in plain.getvalue()
        return
    reader, writer = pty.openpty()
    elsewhere, kept = os.open(os.devnull, os.O_WRONLY), os.dup(writer)
    with os.fdopen(writer, "w") as terminal, Progress([Column("x", "x")], stream=terminal) as shown:
        with shown.apart_from_stderr():
            os.dup2(elsewhere, terminal.fileno())
            shown.say("told meanwhile")
            terminal.flush()
            os.dup2(kept, terminal.fileno())
        shown.say("told after")
    os.close(kept)
    os.close(elsewhere)
    told = b""
    while b"told after" not in told:
        told += os.read(reader, 4096)
    os.close(reader)
    assert b"told meanwhile" in told
