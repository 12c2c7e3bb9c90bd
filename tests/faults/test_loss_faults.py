"""A loss that is not finite stops the run with a dump of the batch, wherever it is computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from parley.platform.cli import main
from parley.platform.engine.torch.loss_fault import BATCH_FILE, FAULT_FILE
from parley.platform.runs.checkpoints import CheckpointStore
from tests.faults.aftermath import assert_nothing_leaked
from tests.faults.fault_runs import REMOTE_CARTS, TRACES


def fail(run: Path, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """Train, which fails; what was told."""
    assert main(["train", *command, "--run-dir", str(run)]) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert str(run / FAULT_FILE) in told and BATCH_FILE in told
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "failed" and FAULT_FILE in result["error"]
    assert_nothing_leaked()
    return told


def read_fault(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return json.loads((run / FAULT_FILE).read_text()), load_file(run / BATCH_FILE)


@pytest.mark.parametrize("num_learners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_carts(
    num_learners: int, local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The driver's learner, or a remote one, whose error and batch come back."""
    run = tmp_path / "run"
    settings = ["ppo.learning_rate=1e30", "checkpoint.interval_iterations=1"]
    learners = f"learner.num_learners={num_learners}"
    told = fail(run, capsys, "cartpole/ppo", *REMOTE_CARTS, *settings, learners)
    assert "lower ppo.learning_rate" in told
    facts, columns = read_fault(run)
    assert {"policy", "value", "entropy", "total"} <= set(facts["losses"]["carts"])
    assert facts["learning_rates"] and len(facts["weights_hash"]) == 64
    assert {"carts/obs", "carts/actions", "carts/advantages"} <= set(columns)
    assert len({len(column) for column in columns.values()}) == 1
    found = CheckpointStore(run / "checkpoints").find("last")
    assert ("init_from=" in told) == (found is not None)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_next_tokens(local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ray Train's worker hands its error over with the batch; nothing is tried again."""
    run = tmp_path / "run"
    rate = "training.learning_rate=1e30"
    told = fail(run, capsys, "trace/addition", *TRACES, rate, "training.num_steps=40")
    assert "lower training.learning_rate" in told
    facts, columns = read_fault(run)
    assert facts["step"] >= 2 and facts["learning_rate"] > 1.0
    assert facts["gradient_norm"] in ("nan", "inf")
    assert columns["inputs"].shape == columns["targets"].shape
    assert np.issubdtype(columns["inputs"].dtype, np.integer)
