"""`parley train cartpole/ppo` from end to end: the run folder, determinism, stopping, resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from parley.platform.cli import main
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.loading import load_experiment
from parley.policies.token.building import load_policy

ROOT = Path(__file__).parents[3]
TINY = [
    "policy=mlp",
    "env.window=1",
    "env.max_steps=200",
    "rollouts.num_env_runners=1",
    "rollouts.num_envs_per_env_runner=4",
    "rollouts.rollout_fragment_length=16",
    "ppo.minibatch_size=32",
    "ppo.num_epochs=2",
    "ppo.anneal_env_steps=1000",
    "stop.max_env_steps=512",
    "stop.target_return=none",
    "evaluation.episodes=6",
    "evaluation.interval_env_steps=192",
    "evaluation.selection_episodes=3",
    "checkpoint.interval_iterations=3",
]
"""Eight iterations of 64 steps; evaluations after 192, 384 and 512."""

TWO_POLICIES = [
    *TINY,
    "env.num_carts=2",
    "env.shared_policy=false",
    "env.dither=0.5",
    "rollouts.num_env_runners=2",
    "rollouts.num_envs_per_env_runner=2",
    "stop.max_env_steps=1536",
]
"""24 iterations of two runners and two policies: order could play a part everywhere."""

TIMES = {"seconds", "steps_per_s", "sample_s", "learn_s", "eval_seconds"}
Row = dict[str, Any]


def train(run: Path, *arguments: str) -> int:
    return main(["train", "cartpole/ppo", "--run-dir", str(run), *arguments])


def start(run: Path, *arguments: str, hash_seed: int) -> subprocess.Popen[str]:
    """The same in a process group of its own, as a terminal starts it.

    Hash seeds 1 and 2 put a set of `cart_0` and `cart_1` into different orders.
    """
    call = [sys.executable, "-m", "parley.platform.cli", "train", "cartpole/ppo", "--run-dir"]
    return subprocess.Popen(
        [*call, str(run), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        start_new_session=True,
    )


def read_rows(run: Path) -> list[Row]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def untimed(run: Path) -> list[Row]:
    """The rows without what a clock measured."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_rows(run)]


def read_result(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    return result


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def finished(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight iterations."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert train(run, *TINY) == 0
    return run


@pytest.fixture(scope="module")
def reference(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of two policies."""
    run = tmp_path_factory.mktemp("reference") / "run"
    assert train(run, *TWO_POLICIES) == 0
    return run


def test_the_run_folder_holds_what_the_contract_says(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        ".lock",
        "checkpoints",
        "config.toml",
        "learning_curve.png",
        "metrics.jsonl",
        "result.json",
        "tensorboard",
        "tracking.json",
    }
    assert load_experiment(finished / "config.toml") == load_experiment("cartpole/ppo", TINY)
    with Image.open(finished / "learning_curve.png") as image:
        assert image.format == "PNG"


def test_a_row_an_iteration(finished: Path) -> None:
    rows = read_rows(finished)
    assert [row["iteration"] for row in rows] == list(range(1, 9))
    assert [row["env_steps"] for row in rows] == list(range(64, 513, 64))
    assert [row["env_steps"] for row in rows if "eval_return" in row] == [192, 384, 512]
    figures = {"policy_loss", "value_loss", "entropy", "kl", "clip_fraction"}
    for row in rows:
        assert figures | {"num_episodes", "mean_return"} | TIMES - {"eval_seconds"} <= row.keys()
        assert all(isinstance(row[name], float) for name in figures)
        assert 0.0 < row["entropy"] <= 0.6932
        assert 0.0 <= row["clip_fraction"] <= 1.0
    assert sum(row["num_episodes"] for row in rows) > 5


def test_the_result_measures_the_best_policy(finished: Path) -> None:
    result = read_result(finished)
    keys = {"status", "experiment", "seconds", "metrics", "checkpoint", "versions"}
    assert keys <= result.keys()
    assert (result["status"], result["experiment"]) == ("done", "cartpole/ppo")
    assert result["seconds"] == read_rows(finished)[-1]["seconds"]
    assert {"python", "torch", "ray"} <= result["versions"].keys()
    metrics = result["metrics"]
    assert (metrics["episodes"], metrics["train_env_steps"]) == (6, 512)
    low, high = metrics["mean_return_ci95"]
    assert low <= metrics["mean_return"] <= high
    best = max(row["eval_return"] for row in read_rows(finished) if "eval_return" in row)
    store = CheckpointStore(finished / "checkpoints")
    assert store.best_score() == best
    checkpoint = store.find("best")
    assert checkpoint is not None
    assert finished / result["checkpoint"] == checkpoint.path


def test_checkpoints_are_kept_and_load_without_ray(finished: Path) -> None:
    store = CheckpointStore(finished / "checkpoints")
    newest = store.find("last")
    assert newest is not None
    assert newest.path.name == "iteration_000008"
    assert len(list((finished / "checkpoints").glob("iteration_*"))) in (3, 4)
    assert newest.read_policy_facts()["env_steps"] == 512
    program = (
        "import sys; from pathlib import Path\n"
        "from parley.policies.token.building import load_policy\n"
        "load_policy(Path(sys.argv[1]))\n"
        "print('ray' in sys.modules)"
    )
    call = [sys.executable, "-c", program, str(newest.policy_folders["carts"])]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_evaluate_gives_the_figures_of_the_result(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--episodes", "6", "--json", str(out)]
    assert main(["evaluate", str(finished), *arguments]) == 0
    figures = json.loads(out.read_text())
    expected = read_result(finished)["metrics"]
    for name in ("mean_return", "mean_return_ci95", "min_return", "episodes", "env_steps"):
        assert figures[name] == expected[name]


def test_a_finished_run_is_neither_overwritten_nor_trained_again(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    assert train(finished, *TINY) == 2
    assert "--resume" in capsys.readouterr().err
    assert contents(finished) == before
    assert train(finished, "--resume") == 0
    after = contents(finished)
    changed = {name for name in before if after[name] != before[name]}
    assert changed <= {"result.json", ".lock", "learning_curve.png"}
    assert after.keys() == before.keys()


def test_hash_seed_and_processes_play_no_part(reference: Path, tmp_path: Path) -> None:
    process = start(tmp_path / "run", *TWO_POLICIES, hash_seed=1)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert untimed(tmp_path / "run") == untimed(reference)
    ours, theirs = (read_result(run)["metrics"] for run in (tmp_path / "run", reference))
    for name in ("mean_return", "mean_return_ci95", "env_steps"):
        assert ours[name] == theirs[name]


def test_two_policies_are_trained_and_saved(reference: Path) -> None:
    checkpoint = CheckpointStore(reference / "checkpoints").find("last")
    assert checkpoint is not None
    assert list(checkpoint.policy_folders) == ["cart_0", "cart_1"]
    first, second = (load_policy(path).state_dict() for path in checkpoint.policy_folders.values())
    assert any((first[name] != second[name]).any() for name in first)
    assert read_result(reference)["metrics"]["episodes"] == 12  # six for each cart


def wait_for_rows(process: subprocess.Popen[str], run: Path, num_rows: int) -> None:
    while not (run / "metrics.jsonl").exists() or len(read_rows(run)) < num_rows:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, str]]:
    """The run of `reference` stopped by Ctrl-C, its exit code and what it said."""
    run = tmp_path_factory.mktemp("interrupted") / "run"
    process = start(run, *TWO_POLICIES, hash_seed=2)
    wait_for_rows(process, run, 4)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    yield run, process.returncode, errors


def test_ctrl_c_saves_and_says_so(interrupted: tuple[Path, int, str]) -> None:
    run, code, errors = interrupted
    assert code == 130, errors
    assert "stopped" in errors
    assert "Traceback" not in errors
    result = read_result(run)
    rows = read_rows(run)
    assert result["status"] == "stopped"
    assert 4 <= len(rows) < 24
    assert result["metrics"] == rows[-1]
    checkpoint = CheckpointStore(run / "checkpoints").find("last")
    assert checkpoint is not None
    assert checkpoint.path.name == f"iteration_{len(rows):06d}"
    assert (run / "learning_curve.png").is_file()


def test_a_resumed_run_equals_an_uninterrupted_one(
    interrupted: tuple[Path, int, str], reference: Path, local_ray: None
) -> None:
    run = interrupted[0]
    assert train(run, "--resume", *TWO_POLICIES) == 0
    assert untimed(run) == untimed(reference)
    assert read_result(run)["status"] == "done"
    ours, theirs = (read_result(path)["metrics"] for path in (run, reference))
    assert ours["mean_return"] == theirs["mean_return"]
    assert [row["seconds"] for row in read_rows(run)] == sorted(
        row["seconds"] for row in read_rows(run)
    )


def test_a_run_goes_on_when_its_end_is_moved(
    local_ray: None, tmp_path: Path, finished: Path
) -> None:
    run = tmp_path / "run"
    assert train(run, *TINY, "stop.max_env_steps=200") == 0
    assert read_rows(run)[-1]["env_steps"] == 192  # never more than allowed
    assert train(run, "--resume", "stop.max_env_steps=512") == 0
    assert untimed(run) == untimed(finished)
    assert read_result(run)["metrics"]["train_env_steps"] == 512


def test_a_target_ends_the_run(local_ray: None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(run, *TINY, "stop.target_return=5.0") == 0
    assert [row["env_steps"] for row in read_rows(run)] == [64, 128, 192]
    assert read_result(run)["metrics"]["solved_env_steps"] == 192


def test_a_start_from_another_run_begins_with_its_weights_and_its_steps(
    local_ray: None, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    frozen = ["ppo.learning_rate=1e-30", "ppo.learning_rate_final=0.0"]
    overrides = [*TINY, f"init_from={finished}", *frozen, "stop.max_env_steps=576"]
    assert train(run, *overrides) == 0
    source, target = (CheckpointStore(path / "checkpoints") for path in (finished, run))
    best, last = source.find("best"), target.find("last")
    assert best is not None and last is not None
    first = best.read_policy_facts()["env_steps"] + 64
    assert [row["env_steps"] for row in read_rows(run)] == list(range(first, 577, 64))
    weights = [load_policy(c.policy_folders["carts"]).state_dict() for c in (best, last)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_a_failed_run_says_why_and_keeps_what_it_has(
    local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(run, *TINY, "ppo.learning_rate=1e30", "checkpoint.interval_iterations=1") == 1
    error = capsys.readouterr().err
    assert "the gradient's length" in error
    assert "fault.json" in error
    assert "begin anew with the lower setting" in error  # there is no checkpoint yet
    result = read_result(run)
    assert result["status"] == "failed"
    assert "NonFiniteLossError" in result["error"]
    assert RunFolder.open(run).config.experiment == "cartpole/ppo"


@pytest.mark.parametrize("policy", ["dhmm_gpt2", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_language_models_train_too(policy: str, local_ray: None, tmp_path: Path) -> None:
    overrides = [*TINY, f"policy={policy}", "env.window=2", "model.embed_size=16"]
    assert train(tmp_path / "run", *overrides, "stop.max_env_steps=128") == 0
    metrics = read_result(tmp_path / "run")["metrics"]
    assert 0.0 <= metrics["other_token_rate"] <= 1.0


LEARNING = [
    "policy=mlp",
    "env.window=1",
    "rollouts.num_env_runners=1",
    "rollouts.num_envs_per_env_runner=16",
    "rollouts.rollout_fragment_length=64",
    "ppo.minibatch_size=256",
    "ppo.anneal_env_steps=30000",
    "stop.max_env_steps=20480",
    "stop.target_return=none",
    "evaluation.interval_env_steps=0",
    "evaluation.episodes=50",
]


def test_it_learns_to_balance(local_ray: None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(run, *LEARNING) == 0
    rows = read_rows(run)
    assert rows[0]["mean_return"] < 40
    assert rows[-1]["mean_return"] > 80
    assert read_result(run)["metrics"]["mean_return"] > 100
