"""A driver is killed on a cluster that it shares: the machines and the other jobs stay."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.aftermath import POLL_S, assert_no_orphans, read_rows
from tests.faults.fault_runs import REMOTE_CARTS
from tests.ray_head import RayHead

ROOT = Path(__file__).parents[2]
LOOK = """
import sys
import ray
from tests.faults.aftermath import assert_nothing_leaked
ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
assert_nothing_leaked()
assert ray.cluster_resources()["CPU"] == 4
"""
"""A process of its own looks: one that has once shown no token to a cluster never shows any."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_driver_leaves_the_cluster_as_it_found_it(
    tmp_path: Path,
) -> None:
    """Its actors end and its room is free; the raylet lives on."""
    with RayHead(tmp_path / "head", num_cpus=4, dashboard=False) as head:
        run, log = tmp_path / "run", tmp_path / "run.log"
        call = [sys.executable, "-m", "parley.platform.cli", "train", "cartpole/ppo"]
        endless = [*REMOTE_CARTS, "stop.max_env_steps=1000000", "evaluation.interval_env_steps=0"]
        with log.open("w") as output:
            driver = subprocess.Popen(
                [*call, "--run-dir", str(run), *endless],
                cwd=ROOT,
                env=head.environment | {"RAY_ADDRESS": head.address},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        while len(read_rows(run)) < 3:
            assert driver.poll() is None, log.read_text()
            time.sleep(POLL_S)
        actors = [pid for pid, title in head.pids().items() if "VectorEnvRunner" in title]
        raylets = [pid for pid, title in head.pids().items() if "raylet/raylet" in title]
        assert len(actors) == 2 and len(raylets) == 1
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        assert_no_orphans(actors)
        look = subprocess.run(
            [sys.executable, "-c", LOOK, head.address],
            cwd=ROOT,
            env=head.environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert look.returncode == 0, look.stderr
        assert set(raylets) <= set(head.pids())
