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

from tests.faults.processes import descendants

ROOT = Path(__file__).parents[2]
TINY = [
    "language.min_size=1",
    "language.max_size=2",
    "language.options.base=3",
    "model.embed_size=16",
    "model.heads=2",
    "model.ff_hidden=32",
    "model.num_states=4",
    "stream.holdout=0.3",
    "training.num_steps=400",
    "training.batch_tokens=256",
    "training.warmup_steps=5",
    "training.eval_interval=50",
    "training.stop_exact_match=none",
    "evaluation.sizes=[1, 2]",
    "evaluation.inputs_per_size=8",
    "evaluation.selection_inputs=8",
    "checkpoint.interval_iterations=20",
]
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
            [*call, "--run-dir", str(run), *TINY],
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
