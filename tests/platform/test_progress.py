"""Progress: plain lines at a bounded pace, a live table on a terminal, the time that is left."""

from __future__ import annotations

import io

import pytest

from parley.platform.telemetry.progress import Column, Goal, Progress, duration_text

COLUMNS = [
    Column("iteration", "iteration"),
    Column("env_steps", "env steps"),
    Column("mean_return", "return", ".1f"),
]


class Clock:
    """Seconds that move only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_come_at_a_bounded_pace_and_the_last_always() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(COLUMNS, Goal("env_steps", 1000), stream, interval_s=5, clock=clock)
    with progress:
        for iteration in range(1, 10):
            clock.now_s += 1.0
            progress.update(
                {"iteration": iteration, "env_steps": 100 * iteration, "mean_return": 20.25}
            )
    lines = stream.getvalue().splitlines()
    assert lines[0] == "iteration 1  env steps 100  return 20.2  time left 9s"
    assert [line.split()[1] for line in lines] == ["1", "6", "9"]


def test_a_log_grows_with_the_logarithm_of_the_time() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(COLUMNS, None, stream, clock=clock) as progress:
        for second in range(24 * 3600):
            clock.now_s = float(second)
            progress.update({"iteration": second})
    lines = stream.getvalue().splitlines()
    assert 300 < len(lines) < 500
    assert lines[-1].startswith(f"iteration {24 * 3600 - 1:,}")
    assert "\x1b" not in stream.getvalue()


def test_a_resumed_run_counts_its_own_pace() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(COLUMNS, Goal("env_steps", 1000), stream, clock=clock) as progress:
        progress.resume_from(800)
        clock.now_s += 10
        progress.update({"iteration": 9, "env_steps": 900})
    assert stream.getvalue().splitlines() == ["iteration 9  env steps 900  return -  time left 10s"]


def test_missing_and_nan_figures_are_dashes() -> None:
    assert [Column("a", "a").text(row) for row in ({}, {"a": float("nan")}, {"a": None})] == [
        "-"
    ] * 3
    assert Column("a", "a", ",.0f").text({"a": 12345}) == "12,345"


def test_a_terminal_gets_one_table_and_is_left_in_order() -> None:
    stream = Terminal()
    with Progress(COLUMNS, stream=stream) as progress:
        with progress.status("starting Ray"):
            pass
        for iteration in range(20):
            progress.update({"iteration": iteration, "env_steps": 1, "mean_return": 1.0})
    shown = stream.getvalue()
    assert "env steps" in shown
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l"), "the cursor stays hidden"


def test_waiting_is_said_in_plain_lines_and_nests() -> None:
    stream = io.StringIO()
    progress = Progress(COLUMNS, stream=stream)
    with progress, progress.status("starting Ray"), progress.status("building the policy"):
        pass
    assert stream.getvalue().splitlines() == ["starting Ray ...", "building the policy ..."]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(41.6, "42s"), (185, "3m05s"), (7620, "2h07m"), (0, "0s"), (59.7, "1m00s")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
