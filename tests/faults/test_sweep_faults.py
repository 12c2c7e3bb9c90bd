"""Sweeps meet failing, killed and diverging trials, a killed driver, Ctrl-C and torn files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parley.platform.engine.sweeps.trial_folder import TrialFolder
from parley.platform.errors import InputError
from parley.platform.runs.run_folder import RunFolder
from tests.platform.engine.sweeps import sweep_trials
from tests.platform.engine.sweeps.sweep_trials import (
    NUM_STEPS,
    read_pids,
    read_steps,
    read_trials,
    sweep,
)

ROOT = Path(__file__).parents[2]
POLL_S = 0.05
PATIENCE_S = 120.0
WHOLE = list(range(1, NUM_STEPS + 1))


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_faults_stay_with_their_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sweep, six trials: sound, broken once, killed once, broken for good, NaN, divergence."""
    run = tmp_path / "run"
    sweep(
        run,
        "sweep.space.dpo.beta.grid=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]",
        faults={
            "0.2": (3, "raise once"),
            "0.3": (3, "kill once"),
            "0.4": (3, "raise"),
            "0.5": (3, "nan"),
            "0.6": (2, "diverge"),
        },
    )
    trials = read_trials(run)
    assert [trial["status"] for trial in trials] == ["done"] * 3 + ["failed"] * 3
    assert [trial["retries"] for trial in trials] == [0, 1, 1, 1, 0, 0]
    assert read_steps(run, 0) == WHOLE
    assert read_steps(run, 1) == read_steps(run, 2) == [1, 2, 3, 3, 4, 5]
    assert read_steps(run, 3) == [1, 2, 3, 3]
    assert read_steps(run, 4) == [1, 2, 3]
    assert read_steps(run, 5) == [1, 2]
    assert trials[3]["error"] == "RuntimeError: broken at step 3"
    assert "not a finite number" in trials[4]["error"]
    assert "not a number" in trials[5]["error"]
    assert [trial["final"] for trial in trials] == [False] * 4 + [True] * 2
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "done"
    assert result["metrics"]["best_trial"] == "00000"
    assert result["metrics"]["trials_failed"] == 3
    assert "is tried again: RuntimeError: broken at step 3" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_failed_trial_is_tried_again_by_resume_but_not_a_diverged_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    faults = {"0.1": (3, "raise"), "0.3": (2, "diverge")}
    sweep(run, "sweep.max_failures=0", faults=faults)
    assert [trial["status"] for trial in read_trials(run)] == ["done", "failed", "failed"]
    (run / "checkpoints" / "best" / "state.json").unlink()
    (run / "checkpoints" / "best").rmdir()
    sweep(run, "sweep.max_failures=0", resume=True)
    assert [trial["status"] for trial in read_trials(run)] == ["done", "done", "failed"]
    assert read_steps(run, 0) == WHOLE
    assert read_steps(run, 1) == [1, 2, 3, 3, 4, 5]
    assert read_steps(run, 2) == [1, 2]


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_each_trial_was(tmp_path: Path) -> None:
    run = tmp_path / "run"
    driver = start_driver(run, "begin")
    wait_for(driver, lambda: len(read_steps(run, 0)) == NUM_STEPS and len(read_steps(run, 2)) >= 2)
    driver.kill()
    driver.wait()
    workers = read_pids(run, 0) | read_pids(run, 2)
    wait_gone(workers)
    before = {number: read_steps(run, number) for number in range(3)}
    assert before[0] == WHOLE
    assert before[2] != WHOLE, "the kill came too late"
    driver = start_driver(run, "resume")
    assert driver.wait(timeout=PATIENCE_S) == 0, read_output(run)
    check_histories(run, before)
    wait_gone({pid for number in range(3) for pid in read_pids(run, number)})


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_is_saved_and_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    driver = start_driver(run, "begin")
    wait_for(driver, lambda: len(read_steps(run, 1)) >= 2)
    driver.send_signal(number)
    assert driver.wait(timeout=PATIENCE_S) == 130, read_output(run)
    assert json.loads((run / "result.json").read_text())["status"] == "stopped"
    statuses = [trial["status"] for trial in read_trials(run)]
    assert set(statuses) <= {"done", "running", "pending"}
    assert statuses != ["done"] * 3
    before = {trial: read_steps(run, trial) for trial in range(3)}
    wait_gone({pid for trial in range(2) for pid in read_pids(run, trial)})
    driver = start_driver(run, "resume")
    assert driver.wait(timeout=PATIENCE_S) == 0, read_output(run)
    check_histories(run, before)


def test_a_folder_that_holds_no_trials_of_a_sweep_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    RunFolder.create(sweep_trials.make_config(), run).close()
    (run / "trials.json").write_text('[{"trial": "zero"')
    with pytest.raises(InputError, match=r"trials\.json: not the trials of a sweep"):
        sweep(run, resume=True)


def test_what_a_crash_leaves_behind_is_forgotten(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "00000", keep=2)
    with folder.locked():
        for number in (1, 2, 3):
            row: dict[str, object] = {
                "evaluation": number,
                "score": 0.1,
                "seconds": 1.0,
                "config": {},
            }
            folder.save(row, lambda target: (target / "weights").touch())
            folder.append_row(row)
    torn = tmp_path / "00000" / ".unfinished_000004"
    torn.mkdir()
    with (tmp_path / "00000" / "rows.jsonl").open("a") as rows:
        rows.write('{"evaluation": 4, "score": 0.9, "seconds": 2.0, "config": {}}\n{"evalu')
    assert [row["evaluation"] for row in folder.open_rows()] == [1, 2, 3]
    assert not torn.exists()
    assert [row["evaluation"] for row in folder.read_rows()] == [1, 2, 3]
    newest = folder.newest()
    assert newest is not None
    assert newest.row["evaluation"] == 3


def test_a_row_that_was_not_written_comes_from_its_checkpoint(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "00000", keep=2)
    with folder.locked():
        for number in (1, 2):
            row: dict[str, object] = {
                "evaluation": number,
                "score": 0.1 * number,
                "seconds": 1.0,
                "config": {},
            }
            folder.save(row, lambda target: (target / "weights").touch())
            if number == 1:
                folder.append_row(row)
    assert [row["score"] for row in folder.open_rows()] == [0.1, 0.2]


def test_the_best_checkpoint_outlives_newer_ones(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "00000", keep=1)
    with folder.locked():
        for number, score in enumerate([0.2, 0.9, 0.3, 0.4], start=1):
            row: dict[str, object] = {
                "evaluation": number,
                "score": score,
                "seconds": 1.0,
                "config": {},
            }
            folder.save(row, lambda target: (target / "weights").touch())
    assert [saved.row["evaluation"] for saved in folder.checkpoints()] == [2, 4]
    best = folder.best()
    assert best is not None
    assert best.row["score"] == 0.9


def start_driver(run: Path, how: str) -> subprocess.Popen[bytes]:
    """Sweep three trials in a process of its own, two at a time."""
    output = (run.parent / "output.txt").open("ab")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.platform.engine.sweeps.sweep_trials", str(run), how]
    return subprocess.Popen(
        [*command, "sweep.max_concurrent=2"],
        cwd=ROOT,
        env=environment,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def check_histories(run: Path, before: dict[int, list[int]]) -> None:
    """Every trial took every step; only what no checkpoint held was taken twice."""
    for number, earlier in before.items():
        later = read_steps(run, number)[len(earlier) :]
        assert [*earlier, *later][-1] == NUM_STEPS
        assert set(earlier) | set(later) == set(WHOLE)
        again = set(earlier) & set(later)
        assert again <= {max(earlier, default=0)}, (number, earlier, later)
    assert [trial["status"] for trial in read_trials(run)] == ["done"] * 3
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == list(range(1, 3 * NUM_STEPS + 1))
    assert len({(row["trial"], row["evaluation"]) for row in rows}) == 3 * NUM_STEPS
    assert (run / "prepared.log").read_text().count("prepared") == 2


def wait_for(driver: subprocess.Popen[bytes], reached: object) -> None:
    """Wait until `reached()`, while the driver lives."""
    assert callable(reached)
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert driver.poll() is None, "the driver ended too early"
        assert time.monotonic() < deadline, "the driver is too slow"
        time.sleep(POLL_S)


def wait_gone(pids: set[int]) -> None:
    """Wait until none of the processes is left."""
    deadline = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"still there: {pids}"
        time.sleep(POLL_S)


def read_output(run: Path) -> str:
    return (run.parent / "output.txt").read_text()[-3000:]
