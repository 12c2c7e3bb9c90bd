"""`parley submit` and `ray job submit` against a real head whose nodes have no parley."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from parley.platform.cluster.job_package import MAX_SIZE_BYTES
from tests.platform.cluster.bare_nodes import BareNodes
from tests.ray_head import RayHead

ROOT = Path(__file__).parents[3]
TINY = [
    "policy=mlp",
    "env.window=1",
    "rollouts.num_env_runners=2",
    "rollouts.num_envs_per_env_runner=2",
    "rollouts.rollout_fragment_length=16",
    "ppo.minibatch_size=32",
    "ppo.num_epochs=2",
    "stop.max_env_steps=256",
    "stop.target_return=none",
    "evaluation.episodes=4",
    "evaluation.interval_env_steps=0",
    "checkpoint.interval_iterations=2",
]
"""Four iterations of 64 steps from two runners."""
LONG = [*TINY, "stop.max_env_steps=100000000"]
POLL_S = 0.2
PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> BareNodes:
    return BareNodes(tmp_path_factory.mktemp("nodes"))


@pytest.fixture(scope="module")
def head(nodes: BareNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    """A cluster of two CPUs that asks for a token."""
    folder = tmp_path_factory.mktemp("head")
    environment = nodes.environment
    with RayHead(
        folder, token="0123456789abcdef" * 4, environment=environment, python=nodes.python
    ) as head:
        yield head


def call_of(head: RayHead, *arguments: str) -> list[str]:
    program = [sys.executable, "-m", "parley.platform.cli", "submit"]
    return [*program, *arguments, "--address", head.dashboard_url]


def submit(
    head: RayHead, folder: Path, *arguments: str, source: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Call `parley submit` in `folder`, with the code below `source`."""
    return subprocess.run(
        call_of(head, *arguments),
        cwd=folder,
        env={**head.environment, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )


def ray_submit(head: RayHead, source: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Call `ray job submit` in a checkout, as its documentation says."""
    call = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit"]
    call += ["--address", head.dashboard_url, "--working-dir", "."]
    call += ["--runtime-env", "deploy/runtime_env.yaml", "--", *command]
    return subprocess.run(
        call, cwd=source, env=head.environment, capture_output=True, text=True, check=False
    )


def uploads(head: RayHead) -> set[Path]:
    """The unpacked working directories on the node."""
    folder = head.session_folder / "runtime_resources" / "working_dir_files"
    return {path for path in folder.glob("*") if path.is_dir()}


def copy_checkout(folder: Path) -> Path:
    """The tracked files of this checkout, with what must never leave it beside them."""
    call = ["git", "ls-files", "-z"]
    listed = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    for name in (".git/HEAD", ".env", "runs/mine/metrics.jsonl", "data/pairs.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("SECRET=of-this-machine\n")
    return folder


def mark_code(source: Path, mark: str) -> None:
    """Edit the code: its `parley list` says `mark` first."""
    path = source / "platform" / "commands" / "listing.py"
    text = re.sub(r"print\(\"mark .*\n", "", path.read_text())
    path.write_text(f'{text}print("mark {mark}")\n')


def wait_for_status(client: JobSubmissionClient, job: str, *statuses: JobStatus) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while client.get_job_status(job) not in statuses:
        assert time.monotonic() < deadline, client.get_job_logs(job)
        time.sleep(POLL_S)


def client_of(head: RayHead) -> JobSubmissionClient:
    headers = {"Authorization": f"Bearer {head.token}"}
    return JobSubmissionClient(head.dashboard_url, headers=headers)


def test_an_experiment_runs_on_nodes_without_parley(
    head: RayHead, nodes: BareNodes, tmp_path: Path
) -> None:
    assert not nodes.has_parley()
    (tmp_path / ".env").write_text("SECRET=of-this-machine\n")
    before = uploads(head)
    done = submit(head, tmp_path, "cartpole/ppo", *TINY, "--submission-id", "first")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "joining Ray" in done.stdout
    assert "job first: SUCCEEDED" in done.stderr
    run = nodes.home / "parley" / "runs" / "cartpole" / "ppo" / "first"  # no shared storage
    assert json.loads((run / "result.json").read_text())["status"] == "done"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 4
    (upload,) = uploads(head) - before
    files = [path for path in upload.rglob("*") if path.is_file()]
    assert {path.relative_to(upload).parts[0] for path in files} == {"parley"}
    assert {path.suffix for path in files} <= {".py", ".toml", ".typed", ".pyc"}
    assert sum(path.stat().st_size for path in files if path.suffix != ".pyc") < MAX_SIZE_BYTES


@pytest.mark.slow
def test_an_id_is_used_once(head: RayHead, tmp_path: Path) -> None:
    arguments = ("cartpole/ppo", *TINY, "--submission-id", "twice", "--no-wait")
    assert submit(head, tmp_path, *arguments).stdout == "twice\n"
    again = submit(head, tmp_path, *arguments)
    assert again.returncode == 2
    assert "refuses job twice" in again.stderr
    assert "Traceback" not in again.stderr
    assert submit(head, tmp_path, "--follow", "twice").returncode == 0
    assert "SUCCEEDED" in submit(head, tmp_path, "--stop", "twice").stderr
    unknown = submit(head, tmp_path, "--follow", "never")
    assert unknown.returncode == 2
    assert "knows no job never" in unknown.stderr


@pytest.mark.slow
def test_an_edit_is_what_the_next_submission_runs(head: RayHead, tmp_path: Path) -> None:
    source = copy_checkout(tmp_path / "checkout")
    for mark in ("one", "two", "one"):
        mark_code(source, mark)
        done = ray_submit(head, source, "parley", "list")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"mark {mark}" in done.stdout
    before = uploads(head)
    path = source / "platform" / "cluster" / "submission.py"
    for steps in (128, 192):
        path.write_text(path.read_text() + f"# {steps}\n")
        (source / "edited.toml").write_text(
            (source / "tune_configs" / "cartpole" / "ppo.toml").read_text()
        )
        done = submit(
            head, source, "edited.toml", *TINY, f"stop.max_env_steps={steps}", source=source
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"env steps {steps}" in done.stdout
    new = uploads(head) - before
    assert len(new) == 2
    texts = {(path / "parley/platform/cluster/submission.py").read_text() for path in new}
    assert sorted(text.count("\n# ") for text in texts) == [1, 2]


@pytest.mark.slow
def test_what_ray_uploads_of_a_checkout_is_small_and_has_no_secret(
    head: RayHead, tmp_path: Path
) -> None:
    source = copy_checkout(tmp_path / "checkout")
    before = uploads(head)
    done = ray_submit(head, source, "parley", "train", "cartpole/ppo", *TINY, "seed=5")
    assert done.returncode == 0, done.stdout + done.stderr
    for upload in uploads(head) - before:
        names = {path.relative_to(upload).parts[0] for path in upload.rglob("*")}
        assert not names & {".git", ".env", "runs", "data", "tests", ".venv"}
        files = [path for path in upload.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < MAX_SIZE_BYTES
        assert not [path for path in files if b"of-this-machine" in path.read_bytes()]


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_running_which_is_then_stopped_and_resumed(
    head: RayHead, nodes: BareNodes, tmp_path: Path
) -> None:
    arguments = ("--submission-id", "long", "--run-dir", str(tmp_path / "run"))
    environment = {**head.environment, "PYTHONPATH": str(ROOT)}
    following = subprocess.Popen(
        call_of(head, "cartpole/ppo", *LONG, *arguments),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    client = client_of(head)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists():
        assert following.poll() is None
        time.sleep(POLL_S)
    following.send_signal(signal.SIGINT)
    _, told = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 130
    assert "job long goes on" in told
    assert "Traceback" not in told
    assert client.get_job_status("long") == JobStatus.RUNNING
    num_rows = len(metrics.read_text().splitlines())
    while len(metrics.read_text().splitlines()) <= num_rows:
        time.sleep(POLL_S)
    stopped = submit(head, tmp_path, "--stop", "long")
    assert stopped.returncode == 0
    assert "STOPPED" in stopped.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "stopped"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    steps = rows[-1]["env_steps"] + 128
    assert result["checkpoint"] == f"checkpoints/iteration_{len(rows):06d}"
    arguments = (f"stop.max_env_steps={steps}", "--run-dir", str(tmp_path / "run"), "--auto-resume")
    resumed = submit(head, tmp_path, "cartpole/ppo", *arguments)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert len(metrics.read_text().splitlines()) == len(rows) + 2


@pytest.mark.slow
def test_a_failed_run_and_a_failed_start_are_told_by_the_exit_code(
    head: RayHead, tmp_path: Path
) -> None:
    failed = submit(head, tmp_path, "cartpole/ppo", *TINY, "ppo.learning_rate=1e38")
    assert failed.returncode == 1, failed.stdout
    assert "FAILED" in failed.stderr
    assert failed.stdout.count("NonFiniteLossError") <= 1
    assert "Traceback" not in failed.stdout
    refused = submit(head, tmp_path, "cartpole/ppo", *TINY, "--run-dir", "/proc/run")
    assert refused.returncode == 2, refused.stdout
    assert "choose another --run-dir" in refused.stdout
    by_ray = ray_submit(head, ROOT, "parley", "train", "cartpole/ppo", "--run-dir", "/proc/run")
    assert by_ray.returncode == 1


@pytest.mark.slow
def test_without_the_token_nothing_is_submitted(head: RayHead, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("f" * 64)
    cases = {
        "none": {"RAY_AUTH_MODE": "disabled"},
        "wrong": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(wrong)},
    }
    outer = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH")}
    for environment in cases.values():
        done = subprocess.run(
            call_of(head, "cartpole/ppo", "--submission-id", "intruder"),
            env={**outer, **environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "RAY_AUTH_TOKEN_PATH" in done.stderr
        assert "Traceback" not in done.stderr
    with pytest.raises(RuntimeError, match="does not exist"):
        client_of(head).get_job_info("intruder")
