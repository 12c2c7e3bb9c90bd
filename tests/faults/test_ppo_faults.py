"""Processes of a PPO run are killed: it goes on, or fails by name and resumes exactly."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import ray
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from parley.platform.cli import main
from parley.platform.control.algorithm import WindowAlgorithm, build_config
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.engine.rllib.runner_requests import SamplingError
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.settings.loading import load_experiment
from tests.faults.fault_runs import CARTS
from tests.faults.processes import descendants

ROOT = Path(__file__).parents[2]

LONG = [*CARTS, "stop.max_env_steps=1000000", "evaluation.interval_env_steps=0"]
TIMES = {"seconds", "steps_per_s", "sample_s", "learn_s", "eval_seconds"}
POLL_S = 0.02
Row = dict[str, Any]


def read_rows(run: Path) -> list[Row]:
    """The rows so far; the last line may be in the making."""
    file = run / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def untimed(run: Path) -> list[Row]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_rows(run)]


def resume(run: Path, *overrides: str) -> int:
    return main(["train", "cartpole/ppo", "--run-dir", str(run), "--resume", *overrides])


class Training:
    """`parley train` in a process of its own, and the Ray processes below it."""

    def __init__(self, run: Path, *overrides: str) -> None:
        self.run = run
        self.log = run.with_suffix(".log")
        call = [sys.executable, "-m", "parley.platform.cli", "train", "cartpole/ppo"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*call, "--run-dir", str(run), *overrides],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,
            )

    def wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(POLL_S)

    def wait_for_rows(self, num_rows: int) -> None:
        self.wait_for(lambda: len(read_rows(self.run)) >= num_rows)

    def descendants(self) -> dict[int, str]:
        """Process ids below this one, with their titles."""
        return descendants(self.process.pid)

    def find(self, title: str) -> list[int]:
        return [pid for pid, name in self.descendants().items() if title in name]


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Callable[..., Training]]:
    """Starts trainings; ends what is left of them."""
    started: list[Training] = []

    def begin(*overrides: str) -> Training:
        started.append(Training(tmp_path / "run", *overrides))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            for pid in [one.process.pid, *one.descendants()]:
                os.kill(pid, signal.SIGKILL)
            one.process.wait()


def assert_sound(rows: list[Row]) -> None:
    """Rows without a gap, without a missing figure, with steps in every one."""
    assert [row["iteration"] for row in rows] == list(range(1, len(rows) + 1))
    steps = [0, *(row["env_steps"] for row in rows)]
    assert set(np.diff(steps)) <= {32, 64}
    for row in rows:
        for name in ("policy_loss", "value_loss", "entropy", "kl", "mean_return"):
            assert math.isfinite(row[name])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_killed_runners_are_replaced_and_the_run_goes_on(
    training: Callable[..., Training],
) -> None:
    """First one of two, then both at once."""
    job = training(*LONG)
    job.wait_for_rows(3)
    for num_killed in (1, 2):
        job.wait_for(lambda: len(job.find("ray::VectorEnvRunner")) >= 2)
        before, num_rows = job.find("ray::VectorEnvRunner"), len(read_rows(job.run))
        for pid in before[:num_killed]:
            os.kill(pid, signal.SIGKILL)
        job.wait_for(partial(has_full_rows, job.run, num_rows))
        assert len(set(job.find("ray::VectorEnvRunner")) - set(before)) >= num_killed
    job.process.send_signal(signal.SIGINT)
    assert job.process.wait() == 130, job.log.read_text()
    assert_sound(read_rows(job.run))
    assert CheckpointStore(job.run / "checkpoints").find("last") is not None


def has_full_rows(run: Path, start: int) -> bool:
    """Whether both runners took part in three iterations after row `start` + 1."""
    steps = [row["env_steps"] for row in read_rows(run)[start:]]
    return int((np.diff(steps) == 64).sum()) >= 3


def test_a_killed_driver_takes_its_runners_along_and_resumes_exactly(
    training: Callable[..., Training], local_ray: None, tmp_path: Path
) -> None:
    reference = tmp_path / "reference"
    assert main(["train", "cartpole/ppo", "--run-dir", str(reference), *CARTS]) == 0
    job = training(*CARTS)
    job.wait_for_rows(5)
    runners, children = job.find("ray::VectorEnvRunner"), job.descendants()
    job.process.kill()
    job.process.wait()
    while any(alive(pid) for pid in runners):
        time.sleep(POLL_S)
    for pid in filter(alive, children):  # Ray's own agents take a minute to notice
        os.kill(pid, signal.SIGKILL)
    assert 5 <= len(read_rows(job.run)) < 24
    assert not (job.run / "result.json").exists()
    assert resume(job.run) == 0
    assert untimed(job.run) == untimed(reference)
    assert_sound(read_rows(job.run))


def build(*overrides: str) -> WindowAlgorithm:
    config = load_experiment("cartpole/ppo", [*CARTS, *overrides])
    assert isinstance(config, CartPolePPOConfig)
    settings = policy_settings(config.env, config.model)
    rllib = build_config(config, make_cartpole_task(config.env), settings)
    return cast("WindowAlgorithm", rllib.build_algo())


def runners_of(algorithm: WindowAlgorithm) -> list[tuple[int, dict[str, Any]]]:
    """Process id and state of every runner."""

    def describe(runner: Any) -> tuple[int, dict[str, Any]]:
        return os.getpid(), runner.get_state()

    group = algorithm.env_runner_group
    found: list[tuple[int, dict[str, Any]]]
    found = group.foreach_env_runner(describe, local_env_runner=False)
    return found


def assert_up_to_date(algorithm: WindowAlgorithm) -> None:
    """All runners have just played with the learner's weights, and know their number."""
    expected = algorithm.runner_state()
    runners = runners_of(algorithm)
    assert len(runners) == 2
    for _, state in runners:
        assert state[WEIGHTS_SEQ_NO] == expected[WEIGHTS_SEQ_NO]
        for module_id, weights in expected[COMPONENT_RL_MODULE].items():
            for name, array in weights.items():
                np.testing.assert_array_equal(state[COMPONENT_RL_MODULE][module_id][name], array)


def test_a_replaced_runner_plays_with_the_newest_weights(local_ray: None) -> None:
    algorithm = build()
    try:
        for _ in range(2):
            algorithm.train()
        algorithm.sample()
        assert_up_to_date(algorithm)
        killed, _ = runners_of(algorithm)[0]
        os.kill(killed, signal.SIGKILL)
        while len(algorithm.sample()) < 2 or killed in dict(runners_of(algorithm)):
            algorithm.train()
        assert_up_to_date(algorithm)
    finally:
        algorithm.stop()


def test_older_weights_restored_into_a_live_algorithm_reach_its_runners(local_ray: None) -> None:
    algorithm = build()
    try:
        algorithm.train()
        state = algorithm.training_state()
        for _ in range(3):
            algorithm.train()
        algorithm.restore_training(state)
        algorithm.sample()
        assert_up_to_date(algorithm)
        weights = algorithm.policy_weights()
        algorithm.load_weights(
            {name: {k: 0 * v for k, v in w.items()} for name, w in weights.items()}
        )
        algorithm.sample()
        assert_up_to_date(algorithm)
    finally:
        algorithm.stop()


def test_runners_that_never_come_back_fail_by_name(local_ray: None) -> None:
    algorithm = build("rollouts.sample_timeout_s=3.0")
    try:
        algorithm.train()
        for actor in algorithm.env_runner_group._worker_manager.actors().values():
            ray.kill(actor, no_restart=True)
        with pytest.raises(SamplingError, match=r"none of 2 runners .* resume from it with"):
            for _ in range(3):
                algorithm.train()
        assert algorithm.num_env_steps % 32 == 0
    finally:
        algorithm.stop()
