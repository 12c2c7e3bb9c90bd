"""Progress: plain lines at a bounded pace, a live table on a terminal, the time that is left."""

from __future__ import annotations

import io
import threading
import time

import pytest

from parley.platform.terminal.activities import (
    Activity,
    ActivityStack,
    Teller,
    activity,
    duration_text,
    each,
    is_heard,
    listening,
)
from parley.platform.terminal.progress import Column, Goal, Progress, shown

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


def test_rows_of_a_log_become_rarer_up_to_the_silence_that_is_allowed() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(COLUMNS, None, stream, silence_s=600, clock=clock) as progress:
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


def test_an_activity_tells_count_figures_throughput_and_time_left() -> None:
    clock, told = Clock(), [""]
    teller = Teller(lambda lines: told.extend(lines), 0.0, clock)
    with (
        listening(teller),
        activity("training", 300, "steps", done=100, pace_unit="pairs") as training,
    ):
        assert told[-1] == "training  100 of 300 steps"
        clock.now_s += 5
        training.advance(10, handled=80, loss=0.54321)
        assert told[-1] == "training  110 of 300 steps  loss 0.5432  16 pairs/s  1m35s left"


def test_throughput_leaves_out_what_is_done_in_between_and_the_time_left_does_not() -> None:
    clock = Clock()
    stack = ActivityStack(clock)
    training = Activity("training", 20, "steps")
    stack.begin(training)
    clock.now_s, training.done = 10.0, 10.0
    stack.begin(Activity("measuring"))
    clock.now_s = 20.0
    assert stack.lines() == ["training  10 of 20 steps  1 steps/s  20s left", "measuring  10s"]
    stack.end()
    assert stack.lines() == ["training  10 of 20 steps  1 steps/s  20s left"]


def test_shares_of_a_whole_are_per_cent() -> None:
    stream = io.StringIO()
    with Progress((), stream=stream, silence_s=0.0), shown("building it") as building:
        building.report("encoding", 0.25)
        building.say("a word beside")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "building it ..."
    assert any(line.startswith("building it  encoding  25%") for line in lines)
    assert "a word beside" in lines


def test_what_is_built_shows_itself_where_nobody_listens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not is_heard()
    with shown("building it"):
        assert is_heard()
    assert not is_heard()
    assert capsys.readouterr().err == "building it ...\n"


def test_where_nobody_listens_nothing_is_told() -> None:
    assert list(each("ab", "reading", "letters")) == ["a", "b"]
    with activity("reading", 2) as reading:
        reading.advance(loss=1.0)
        reading.say("nobody hears it")
    assert (reading.done, reading.figures) == (1.0, {"loss": 1.0})


def test_a_log_is_never_silent_longer_than_allowed() -> None:
    stream, clock = io.StringIO(), Clock()
    with (
        Progress(COLUMNS, stream=stream, silence_s=30, clock=clock) as progress,
        activity("training", 1000, "steps") as training,
    ):
        for second in range(1, 101):
            clock.now_s = float(second)
            training.advance(loss=1.0)
            if second == 45:
                progress.update({"iteration": 45})
    assert [line.partition("  loss")[0] for line in stream.getvalue().splitlines()] == [
        "training ...",
        "training  30 of 1,000 steps",
        "iteration 45  env steps -  return -",
        "training  75 of 1,000 steps",
    ]


def test_a_long_step_is_not_silent_either() -> None:
    stream = io.StringIO()
    with Progress((), stream=stream, silence_s=0.0) as progress, progress.status("one long step"):
        while "one long step  0s" not in stream.getvalue():
            time.sleep(0.01)


def test_lines_of_other_processes_are_shown_until_they_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress((), stream=stream, silence_s=30, clock=clock) as progress:
        progress.tell("worker", ["training  1 of 9 steps"])
        clock.now_s = 29.0
        progress.tell("worker", ["training  2 of 9 steps"])
        clock.now_s = 31.0
        progress.tell("worker", ["training  3 of 9 steps", "measuring"])
        progress.tell("worker", [])
        clock.now_s = 99.0
        progress.advanced()
    assert stream.getvalue().splitlines() == [
        "training  1 of 9 steps",
        "training  3 of 9 steps",
        "measuring",
    ]


def test_a_listener_hears_its_own_thread_alone() -> None:
    stream = io.StringIO()

    def work() -> None:
        with activity("in the background"):
            pass

    with Progress((), stream=stream):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert stream.getvalue() == ""
