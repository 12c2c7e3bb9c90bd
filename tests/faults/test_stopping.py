"""SIGTERM, as machines get it that are taken away: the run saves in time, whatever it is doing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parley.platform.cli import main
from parley.platform.runs.stopping import StopOverdue, StopSignal
from tests.faults.aftermath import (
    POLL_S,
    assert_metrics_continue,
    assert_no_orphans,
    assert_saved,
    find,
    read_rows,
)
from tests.faults.fault_runs import LOSSES, REMOTE_CARTS, make_carts
from tests.faults.processes import descendants

ROOT = Path(__file__).parents[2]
WAIT_S = 600.0


def test_the_end_of_the_grace_period_interrupts_what_may_be_interrupted() -> None:
    with StopSignal(0.05) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received
        while not stop.is_overdue:  # not in a block: noted only
            time.sleep(0.01)
        with pytest.raises(StopOverdue), stop.interrupting():
            raise AssertionError("it is over before it begins")
    with StopSignal(0.05) as stop, pytest.raises(StopOverdue), stop.interrupting():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(WAIT_S)
    with StopSignal(WAIT_S) as stop, pytest.raises(KeyboardInterrupt) as caught:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert not isinstance(caught.value, StopOverdue)
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received and not stop.is_overdue


class Training:
    """`parley train cartpole/ppo` in a process of its own."""

    def __init__(self, run: Path, *overrides: str) -> None:
        self.run = run
        self.log = run.with_suffix(".log")
        call = [sys.executable, "-m", "parley.platform.cli", "train", "cartpole/ppo"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*call, "--run-dir", str(run), *REMOTE_CARTS, *overrides],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,
            )

    def wait_for_rows(self, num_rows: int) -> None:
        while len(read_rows(self.run)) < num_rows:
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(POLL_S)

    def kill(self) -> None:
        """End what is left."""
        if self.process.poll() is None:
            for pid in [self.process.pid, *descendants(self.process.pid)]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_whose_runner_hangs_saves_the_last_whole_iteration(
    local_ray: None, tmp_path: Path
) -> None:
    """It would wait for an hour; the signal's grace period ends that."""
    patient = ["rollouts.sample_timeout_s=3600.0", "checkpoint.stop_grace_s=3.0"]
    rare = ["checkpoint.interval_iterations=100000", "evaluation.interval_env_steps=0"]
    job = Training(tmp_path / "run", *patient, *rare, "stop.max_env_steps=1000000")
    try:
        job.wait_for_rows(4)
        processes = descendants(job.process.pid)
        os.kill(find(job.process.pid, "ray::VectorEnvRunner")[0], signal.SIGSTOP)
        job.process.send_signal(signal.SIGTERM)
        assert job.process.wait(WAIT_S) == 130, job.log.read_text()
    finally:
        job.kill()
    assert "the iteration in progress was given up" in job.log.read_text()
    rows = read_rows(job.run)
    assert_metrics_continue(rows, 1, LOSSES)
    assert_saved(job.run, len(rows))
    assert json.loads((job.run / "result.json").read_text())["status"] == "stopped"
    assert_no_orphans(pid for pid, title in processes.items() if "ray::" in title)
    more = f"stop.max_env_steps={64 * (len(rows) + 3)}"
    resume = ["train", "cartpole/ppo", "--run-dir", str(job.run), "--resume"]
    assert main([*resume, more, "rollouts.sample_timeout_s=300.0"]) == 0
    assert_metrics_continue(read_rows(job.run), 1, LOSSES)


@pytest.mark.slow
@pytest.mark.parametrize("copied", [True, False])
def test_an_update_that_is_interrupted_is_undone_where_there_is_a_copy(
    local_ray: None, copied: bool
) -> None:
    algorithm = make_carts("ppo.num_epochs=2000", "rollouts.num_env_runners=1")
    algorithm.copy_updates_over_s = -1.0 if copied else None
    try:
        before, steps = algorithm.weights_hash(), algorithm.num_env_steps
        with StopSignal(3.0) as stop, pytest.raises(StopOverdue):
            algorithm.sample()  # the runner is up: what takes long is the update
            os.kill(os.getpid(), signal.SIGTERM)
            while True:
                with stop.interrupting():
                    algorithm.train()
                before, steps = algorithm.weights_hash(), algorithm.num_env_steps
                algorithm.begin_iteration()
        assert algorithm.undo_iteration() or not copied
        if copied:
            assert algorithm.weights_hash() == before
            assert algorithm.num_env_steps == steps
    finally:
        algorithm.stop()
