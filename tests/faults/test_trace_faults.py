"""Processes of a trace run are killed: it goes on with the figures of a run that lost none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fault_runs import TRACES
from tests.faults.processes import descendants

ROOT = Path(__file__).parents[2]
TIMES = {"seconds", "steps_per_s", "tokens_per_s", "eval_seconds"}
POLL_S = 0.02


def read_rows(run: Path) -> list[dict[str, Any]]:
    """The rows so far, without times; the last line may be in the making."""
    file = run / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    rows = [json.loads(line) for line in lines]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def train(run: Path, disturb: Callable[[int], None] | None = None) -> None:
    """`parley train` in a process of its own; `disturb` gets its id after the first row."""
    call = [sys.executable, "-m", "parley.platform.cli", "train", "trace/addition"]
    log = run.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [*call, "--run-dir", str(run), *TRACES],
            stdout=output,
            stderr=output,
            cwd=ROOT,
            start_new_session=True,
        )
    while disturb is not None and not read_rows(run):
        assert process.poll() is None, log.read_text()
        time.sleep(POLL_S)
    if disturb is not None:
        disturb(process.pid)
    assert process.wait() == 0, log.read_text()


def kill(title: str) -> Callable[[int], None]:
    """Kill one process below the run whose title has `title`."""

    def disturb(root: int) -> None:
        victims = [pid for pid, name in descendants(root).items() if title in name]
        assert victims, f"no {title} among {sorted(descendants(root).values())}"
        os.kill(victims[0], signal.SIGKILL)

    return disturb


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rows of a run that lost no process."""
    run = tmp_path_factory.mktemp("faults") / "run"
    train(run)
    return read_rows(run)


@pytest.mark.slow
def test_a_lost_training_worker_changes_no_figure(
    undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    train(tmp_path / "run", kill("RayTrainWorker"))
    assert read_rows(tmp_path / "run") == undisturbed
