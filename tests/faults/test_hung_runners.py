"""Runners that hang: after the timeout they are ended and replaced, and the others' work counts."""

from __future__ import annotations

import os
import signal
from typing import cast

import pytest

from parley.platform.engine.rllib.restorable_algorithm import RestorableAlgorithm
from parley.platform.engine.rllib.runner_requests import RunnerError, SamplingError
from parley.platform.settings.loading import load_experiment
from parley.platform.trace.algorithm import (
    TraceAlgorithm,
    build_trace_config,
    make_writing_task,
)
from parley.platform.trace.settings import TraceConfig
from tests.faults.aftermath import assert_no_orphans, assert_nothing_leaked, assert_weights_agree
from tests.faults.fault_runs import make_carts

TIMEOUT = "rollouts.sample_timeout_s=15.0"
TRACES = [
    "algorithm=ppo",
    "language.max_size=2",
    "model.embed_size=16",
    "model.heads=2",
    "model.ff_hidden=32",
    "model.num_states=4",
    "rollouts.num_env_runners=2",
    "rollouts.traces_per_env_runner=8",
    "ppo.minibatch_traces=8",
]


def make_traces(*overrides: str) -> TraceAlgorithm:
    config = load_experiment("trace/addition", [*TRACES, *overrides])
    assert isinstance(config, TraceConfig)
    rllib = build_trace_config(config, make_writing_task(config))
    return cast("TraceAlgorithm", rllib.build_algo())


def pids_of(algorithm: RestorableAlgorithm) -> dict[int, int]:
    """Worker index -> process id of every runner that is up."""
    found = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: (runner.worker_index, os.getpid()), local_env_runner=False
    )
    return dict(found)


def train_until_back(algorithm: RestorableAlgorithm, num_runners: int) -> None:
    """Iterate until all runners are up again, then have them all hold the newest weights."""
    for _ in range(20):
        algorithm.train()
        if len(pids_of(algorithm)) == num_runners:
            return
    raise AssertionError("the runner was not replaced")


@pytest.mark.slow
def test_a_stopped_runner_is_replaced_and_the_iteration_goes_on_without_it(
    local_ray: None,
) -> None:
    algorithm = make_carts(TIMEOUT)
    try:
        algorithm.train()
        before = pids_of(algorithm)
        os.kill(before[1], signal.SIGSTOP)
        steps = algorithm.num_env_steps
        algorithm.train()
        assert algorithm.num_env_steps == steps + 32, "the other runner's half"
        assert algorithm.take_notices() == [
            "env runner 1 did not answer within 15 s and is replaced"
        ]
        train_until_back(algorithm, 2)
        assert_no_orphans([before[1]])
        assert before[1] not in pids_of(algorithm).values()
        algorithm.sample()
        assert_weights_agree(algorithm, num_runners=2)
    finally:
        algorithm.stop()
    assert_no_orphans(before.values())
    assert_nothing_leaked()


@pytest.mark.slow
def test_what_a_stopped_runner_owes_is_done_by_the_others(local_ray: None) -> None:
    """Also where all of them hang: their replacements write the same."""
    algorithm = make_traces(TIMEOUT)
    try:
        expected = [group.parts[0].tokens.tolist() for group in algorithm.write(range(4))]
        for victims in ([1], [1, 2]):
            before = pids_of(algorithm)
            for index in victims:
                os.kill(before[index], signal.SIGSTOP)
            found = [group.parts[0].tokens.tolist() for group in algorithm.write(range(4))]
            assert found == expected
            assert_no_orphans(before[index] for index in victims)
            algorithm.take_notices()
            train_until_back(algorithm, 2)
            expected = [group.parts[0].tokens.tolist() for group in algorithm.write(range(4))]
            assert_weights_agree(algorithm, num_runners=2)
    finally:
        algorithm.stop()
    assert_nothing_leaked()


@pytest.mark.slow
def test_an_algorithm_stops_with_a_runner_that_hangs(local_ray: None) -> None:
    algorithm = make_carts()
    algorithm.train()
    pids = pids_of(algorithm)
    os.kill(pids[2], signal.SIGSTOP)
    algorithm.stop()
    assert_no_orphans(pids.values())
    assert_nothing_leaked()


@pytest.mark.slow
def test_an_error_of_a_runners_code_is_raised_at_once(local_ray: None) -> None:
    """RLlib alone would restart the runner indefinitely; no timeout is waited for."""
    algorithm = make_carts()

    def break_env(runner: object) -> None:
        runner.env = None  # type: ignore[attr-defined]

    try:
        algorithm.train()
        algorithm.env_runner_group.foreach_env_runner(break_env, local_env_runner=False)
        place = r"'NoneType' .*; at platform/control/runner\.py:\d+; in env"
        with pytest.raises(RunnerError, match=place):
            algorithm.train()
    finally:
        algorithm.stop()


@pytest.mark.slow
def test_runners_that_are_too_slow_again_and_again_fail_the_run_by_name(local_ray: None) -> None:
    algorithm = make_carts("rollouts.num_env_runners=1", "rollouts.sample_timeout_s=1e-4")
    try:
        with pytest.raises(SamplingError, match=r"none of 1 runners .*sample_timeout_s"):
            algorithm.train()
        assert algorithm.take_notices()
    finally:
        algorithm.stop()
    assert_nothing_leaked()
