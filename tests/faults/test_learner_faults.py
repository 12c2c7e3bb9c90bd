"""A learner's process is killed: the run goes on from its last checkpoint by itself."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from parley.platform.cli import main
from parley.platform.control.ppo_run import PPORun
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.engine.rllib.recovery import LearnerLostError, attended, recover
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.loading import load_experiment
from parley.platform.terminal.progress import Progress
from tests.faults.aftermath import (
    POLL_S,
    assert_metrics_continue,
    assert_no_orphans,
    assert_nothing_leaked,
    assert_saved,
    assert_weights_agree,
    find,
    read_rows,
    untimed,
)
from tests.faults.fault_runs import LOSSES, REMOTE_CARTS

LEARNER = "ray::_WrappedExecutable"


def train(run: Path, *overrides: str) -> int:
    return main(["train", "cartpole/ppo", "--run-dir", str(run), *REMOTE_CARTS, *overrides])


class Killer:
    """Kills a learner of this process's cluster each time that the run has so many rows."""

    def __init__(self, run: Path, at_rows: list[int]) -> None:
        self.killed: list[int] = []
        self._run, self._at_rows = run, at_rows
        self._thread = threading.Thread(target=self._kill, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _kill(self) -> None:
        for num_rows in self._at_rows:
            self._wait_for(partial(self._has_rows, num_rows))
            self._wait_for(lambda: set(find(os.getpid(), LEARNER)) - set(self.killed))
            (pid,) = set(find(os.getpid(), LEARNER)) - set(self.killed)
            os.kill(pid, signal.SIGKILL)
            self.killed.append(pid)

    def _has_rows(self, num_rows: int) -> bool:
        return len(read_rows(self._run)) >= num_rows

    def _wait_for(self, reached: Callable[[], object]) -> None:
        while not reached():
            time.sleep(POLL_S)


@pytest.mark.slow
def test_a_run_that_loses_its_learner_twice_ends_as_one_that_lost_none(
    local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once before its first checkpoint, when it begins anew, and once after one."""
    quiet, disturbed = tmp_path / "quiet", tmp_path / "disturbed"
    assert train(quiet) == 0
    killer = Killer(disturbed, [1, 6])
    assert train(disturbed) == 0
    killer.join()
    told = capsys.readouterr().err
    assert "1 learner(s) lost" in told and "(1 of 3)" in told and "(2 of 3)" in told
    assert "Traceback" not in told
    rows = read_rows(disturbed)
    assert untimed(rows) == untimed(read_rows(quiet))
    assert_metrics_continue(rows, 1, LOSSES)
    assert_saved(disturbed, len(rows))
    assert_no_orphans([*killer.killed, *find(os.getpid(), "ray::VectorEnvRunner")])
    assert_nothing_leaked()


@pytest.mark.slow
def test_a_learner_lost_too_often_fails_the_run_by_name(
    local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    killer = Killer(run, [5])
    assert train(run, "learner.max_restarts=0", "stop.max_env_steps=100000") == 1
    killer.join()
    told = capsys.readouterr().err
    assert "learners were lost 1 times (learner.max_restarts 0)" in told
    assert "--resume" in told and "Traceback" not in told
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "failed" and "LearnerLostError" in result["error"]
    newest = CheckpointStore(run / "checkpoints").find("last")
    assert newest is not None and run / result["checkpoint"] == newest.path
    assert_nothing_leaked()
    num_rows = len(read_rows(run))
    more = [f"stop.max_env_steps={64 * (num_rows + 3)}", "learner.max_restarts=3"]
    resume = ["train", "cartpole/ppo", "--run-dir", str(run), "--resume"]
    assert main([*resume, *more]) == 0
    assert_metrics_continue(read_rows(run), 1, LOSSES)


@pytest.mark.slow
def test_after_the_loss_of_one_of_two_learners_all_hold_the_checkpoints_weights(
    local_ray: None, tmp_path: Path
) -> None:
    overrides = ["learner.num_learners=2", "rollouts.num_env_runners=1", "ppo.minibatch_size=16"]
    config = load_experiment("cartpole/ppo", [*REMOTE_CARTS, *overrides])
    assert isinstance(config, CartPolePPOConfig)
    saved: list[str] = []
    with RunFolder.create(config, tmp_path / "run") as folder, Progress(()) as progress:

        def attempt(checkpoint: Checkpoint | None) -> list[int]:
            run = PPORun(config, folder)
            with attended(run):
                if checkpoint is None:
                    run.iterate()
                    run.save()
                    saved.append(run.algorithm.weights_hash())
                    os.kill(find(os.getpid(), LEARNER)[0], signal.SIGKILL)
                    for _ in range(3):
                        run.iterate()
                    raise AssertionError("no iteration is without learners")
                run.restore(checkpoint)
                assert run.algorithm.weights_hash() == saved[0]
                run.algorithm.sample()
                assert_weights_agree(run.algorithm, num_runners=1)
                learners = find(os.getpid(), LEARNER)
                run.iterate()
                assert run.iteration == 2
                return learners

        pids = recover(attempt, None, CheckpointStore(folder.checkpoints), 1, progress)
    assert len(pids) >= 2
    assert_no_orphans(pids)
    assert_nothing_leaked()


def test_programming_errors_are_no_losses(tmp_path: Path) -> None:
    """They would be met again: nothing is tried a second time."""
    attempts = []

    def attempt(checkpoint: Checkpoint | None) -> None:
        attempts.append(checkpoint)
        raise ZeroDivisionError

    store = CheckpointStore(tmp_path)
    with Progress(()) as progress, pytest.raises(ZeroDivisionError):
        recover(attempt, None, store, 3, progress)
    assert attempts == [None]

    def lose(checkpoint: Checkpoint | None) -> None:
        attempts.append(checkpoint)
        raise LearnerLostError("1 learner(s) lost")

    with Progress(()) as progress, pytest.raises(LearnerLostError, match="lost 3 times"):
        recover(lose, None, store, 2, progress)
    assert attempts == [None] * 4
