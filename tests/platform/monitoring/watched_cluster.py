"""Runs of `parley train` that join a cluster, in processes of their own, stopped by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CARTPOLE = [
    "policy=mlp",
    "rollouts.num_env_runners=2",
    "rollouts.num_envs_per_env_runner=4",
    "rollouts.rollout_fragment_length=64",
    "ppo.minibatch_size=64",
    "ppo.num_epochs=1",
    "stop.max_env_steps=10_000_000",
    "stop.target_return=none",
    "evaluation.interval_env_steps=2048",
    "evaluation.selection_episodes=2",
    "checkpoint.interval_iterations=5",
]
"""PPO that never ends, with all that can be measured soon."""
FAST_REPORTS = {"RAY_metrics_report_interval_ms": "1000"}
"""Ten times as often as Ray does by itself."""
STOP_TIMEOUT_S = 120.0


@contextmanager
def training(
    experiment: str, folder: Path, environment: Mapping[str, str], *overrides: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A run that goes on until the end of the block."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    call = [sys.executable, "-m", "parley.platform.cli", "train", experiment]
    call += ["--run-dir", str(folder), *overrides]
    log_path = folder.parent / f"{folder.name}.log"
    with log_path.open("wb") as log:
        run = subprocess.Popen(
            call,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment, **FAST_REPORTS},
            start_new_session=True,
        )
    try:
        yield run
    finally:
        if run.poll() is None:
            run.send_signal(signal.SIGINT)
        try:
            run.wait(STOP_TIMEOUT_S)
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
    assert run.returncode == 130, log_path.read_text()


def wait_for(
    found: Callable[[], set[str]],
    wanted: set[str],
    timeout_s: float,
    runs: Mapping[Path, subprocess.Popen[bytes]],
) -> None:
    """Wait until all that is `wanted` is `found` while `runs` (log -> process) go on."""
    deadline = time.monotonic() + timeout_s
    while missing := wanted - found():
        for log, run in runs.items():
            assert run.poll() is None, log.read_text()
        assert time.monotonic() < deadline, sorted(missing)
        time.sleep(1.0)
