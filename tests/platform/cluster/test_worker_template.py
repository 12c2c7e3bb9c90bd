"""Workers made by `fork`: each its own, as any other worker; nothing outlives the driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.aftermath import POLL_S, assert_no_orphans, find
from tests.faults.processes import descendants

ROOT = Path(__file__).parents[3]
TEMPLATE = "worker_template"
"""In the title of the template's process."""

ASK_WORKERS = """
import json, os, signal, sys
import ray
from parley.platform.cluster.connection import connected
from parley.platform.cluster.local_ray import start_local
from parley.platform.cluster.worker_template import worker_template
from parley.platform.settings.sections import RayConfig
from tests.faults.aftermath import find

@ray.remote(num_cpus=1)
class Worker:
    def tell(self):
        loaded = sorted(sys.modules)
        import torch
        return {
            "pid": os.getpid(), "parent": os.getppid(), "torch": "torch" in loaded,
            "threads": torch.get_num_threads(), "random": ray.WorkerID.from_random().hex(),
            "group": os.getpgrp(), "folder": os.getcwd(), "niceness": os.nice(0),
            "environment": sorted(os.environ),
        }

def tell():
    workers = [Worker.remote() for _ in range(2)]
    return ray.get([worker.tell.remote() for worker in workers])

with worker_template(2) as path, connected(lambda: start_local(RayConfig(), 2, print, path)):
    (template,) = find(os.getpid(), "worker_template")
    copies = tell()
    os.kill(template, signal.SIGKILL)
    print(json.dumps({"template": template, "copies": copies, "others": tell()}))
"""


def ask_workers() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", ASK_WORKERS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere fork is not sound")
def test_copies_are_workers_like_others_and_workers_start_without_a_template() -> None:
    told = ask_workers()
    for worker in told["copies"]:
        assert worker["parent"] == told["template"]
        assert worker["torch"]
        assert worker["group"] == worker["pid"], "Ray kills the group of a worker that has ended"
    for worker in told["others"]:
        assert worker["parent"] != told["template"]
        assert not worker["torch"]
    workers = told["copies"] + told["others"]
    for name in ("pid", "random"):
        assert len({worker[name] for worker in workers}) == 4, name
    for name in ("threads", "folder", "niceness", "environment"):
        assert all(worker[name] == workers[0][name] for worker in workers), name


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_run_that_is_stopped_while_it_starts_leaves_nothing(
    tmp_path: Path, number: int, code: int
) -> None:
    call = [sys.executable, "-m", "parley.platform.cli", "train", "cartpole/ppo", "--quick"]
    process = subprocess.Popen(
        [*call, "--run-dir", str(tmp_path / "run")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not find(process.pid, TEMPLATE) or not find(process.pid, "raylet"):
        assert process.poll() is None
        time.sleep(POLL_S)
    begun = descendants(process.pid)
    os.kill(process.pid, number)
    assert process.wait() == code
    assert_no_orphans(begun)
