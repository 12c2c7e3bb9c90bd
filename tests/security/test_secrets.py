"""What the environment holds stays there: no file of a run has a key, a token or a password."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parley.platform.engine.sweeps.run import SweepFailedError
from tests.faults.fault_runs import CARTS
from tests.platform.engine.sweeps.sweep_trials import sweep
from tests.ray_head import AUTH_VARIABLES

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t-of-"
SECRETS = {
    "WANDB_API_KEY": f"{SECRET}wandb",
    "HF_TOKEN": f"hf_{SECRET}hub",
    "HUGGING_FACE_HUB_TOKEN": f"hf_{SECRET}hub2",
    "AWS_ACCESS_KEY_ID": f"{SECRET}aws_id",
    "AWS_SECRET_ACCESS_KEY": f"{SECRET}aws",
    "AWS_SESSION_TOKEN": f"{SECRET}aws_session",
    "GOOGLE_APPLICATION_CREDENTIALS_JSON": json.dumps({"private_key": f"{SECRET}gcp"}),
    "MLFLOW_TRACKING_PASSWORD": f"{SECRET}mlflow",
    "DATABASE_URL": f"postgresql://me:{SECRET}database@db/runs",
    "HTTPS_PROXY": f"http://me:{SECRET}proxy@127.0.0.1:9",
    "PIP_INDEX_URL": f"https://me:{SECRET}pip@index/simple",
    "SSH_AUTH_SOCK": f"/run/{SECRET}agent",
    "RAY_AUTH_TOKEN": f"{SECRET}ray",
    "GITHUB_TOKEN": f"{SECRET}github",
}


def find_secrets(folder: Path) -> list[str]:
    """Files below `folder` that hold one of the secrets, in whatever form."""
    plain = SECRET.encode()
    forms = (plain, plain.decode().encode("utf-16-le"), plain.hex().encode())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(form in path.read_bytes() for form in forms)]


def train(run: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """`parley train` in an environment full of secrets."""
    outer = {key: value for key, value in os.environ.items() if key not in AUTH_VARIABLES}
    call = [sys.executable, "-m", "parley.platform.cli", "train", "cartpole/ppo"]
    return subprocess.run(
        [*call, "--run-dir", str(run), *CARTS, "rollouts.num_env_runners=1", *overrides],
        env={**outer, **SECRETS},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same in this process, but for Ray's token, which its cluster may have already."""
    for name, value in SECRETS.items():
        if name != "RAY_AUTH_TOKEN":
            monkeypatch.setenv(name, value)
    yield


@pytest.mark.slow
def test_a_run_keeps_no_secret(tmp_path: Path) -> None:
    """Settings, metrics, checkpoints, result and pictures of a run, and what it prints."""
    run = tmp_path / "run"
    done = train(run, "stop.max_env_steps=192")
    assert done.returncode == 0, done.stderr
    assert {"config.toml", "metrics.jsonl", "result.json"} <= {f.name for f in run.iterdir()}
    assert find_secrets(run) == []
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_that_fails_keeps_none_in_its_error(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = train(run, "ppo.learning_rate=1e30", "ppo.max_grad_norm=1e30")
    assert done.returncode == 1, done.stderr
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "failed" and result["error"]
    assert find_secrets(run) == []
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.slow
def test_trials_that_fail_keep_none_in_their_errors(tmp_path: Path, secrets: None) -> None:
    """Their tracebacks name places, not what variables held."""
    run = tmp_path / "run"
    with pytest.raises(SweepFailedError):
        faults = {beta: (1, "raise") for beta in ("0.05", "0.1", "0.3")}
        sweep(run, "sweep.max_failures=0", faults=faults)
    errors = sorted(run.glob("trials/*/error.txt"))
    assert len(errors) == 3 and "broken at step 1" in errors[0].read_text()
    assert find_secrets(run) == []


def test_what_is_looked_for_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.json").write_text(json.dumps(dict(SECRETS)))
    assert find_secrets(tmp_path) == [str(tmp_path / "deep" / "file.json")]
