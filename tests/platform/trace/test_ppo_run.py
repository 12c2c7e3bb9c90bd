"""`parley train trace/... algorithm=ppo` from end to end: the run folder, stopping, resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from parley.platform.cli import main
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.settings.loading import load_experiment
from tests.platform.trace.trace_ppo_fixtures import save_tracer

ROOT = Path(__file__).parents[3]
TINY = [
    "algorithm=ppo",
    "language.min_size=2",
    "language.max_size=3",
    "language.options.num_values=4",
    "model.embed_size=16",
    "model.heads=2",
    "model.layers=1",
    "model.ff_hidden=32",
    "model.num_states=4",
    "model.positions=rotary",
    "stream.holdout=0.3",
    "rollouts.num_env_runners=2",
    "rollouts.traces_per_env_runner=8",
    "ppo.num_iterations=6",
    "ppo.learning_rate=1e-3",
    "ppo.minibatch_traces=4",
    "ppo.num_epochs=2",
    "ppo.eval_interval=3",
    "evaluation.sizes=[2,3,4]",
    "evaluation.inputs_per_size=8",
    "evaluation.selection_inputs=8",
    "checkpoint.interval_iterations=2",
]
"""Six iterations of two groups of eight traces."""
TIMES = {"seconds", "tokens_per_s", "sample_s", "learn_s", "eval_seconds"}
Row = dict[str, Any]


def train(run: Path, *arguments: str) -> int:
    return main(["train", "trace/sorting", "--run-dir", str(run), *arguments])


def read_rows(run: Path) -> list[Row]:
    """The rows so far; the last line may be in the making."""
    file = run / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def untimed(run: Path) -> list[Row]:
    """The rows without what a clock measured."""
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_rows(run)]


def read_result(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    return result


def weights_of(run: Path) -> dict[str, bytes]:
    """The files of the newest policy."""
    checkpoint = CheckpointStore(run / "checkpoints").find("last")
    assert checkpoint is not None
    (folder,) = checkpoint.policy_folders.values()
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights, as a next-token run writes it."""
    config = load_experiment("trace/sorting", TINY)
    return save_tracer(tmp_path_factory.mktemp("start"), config)


@pytest.fixture(scope="module")
def finished(local_ray: None, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six iterations."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert train(run, *TINY, f"init_from={start}") == 0
    return run


def test_the_run_folder_holds_what_the_contract_says(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    needed = {"checkpoints", "config.toml", "learning_curve.png", "metrics.jsonl", "result.json"}
    assert needed <= names
    rows = read_rows(finished)
    assert [row["iteration"] for row in rows] == list(range(7))
    assert [row["iteration"] for row in rows if "exact_match" in row] == [0, 3, 6]
    figures = {"reward", "sampled_exact_match", "sampled_illegal_rate", "kl", "entropy"}
    for row in rows[1:]:
        assert figures | TIMES - {"eval_seconds"} <= row.keys()
        assert all(isinstance(row[name], float) for name in figures)
        assert -1.0 <= row["reward"] <= 1.1
    tokens = [row["env_steps"] for row in rows[1:]]
    assert tokens == sorted(tokens) and tokens[0] >= 16


def test_the_result_measures_the_best_policy(finished: Path) -> None:
    result = read_result(finished)
    assert (result["status"], result["experiment"]) == ("done", "trace/sorting")
    metrics = result["metrics"]
    for name in ("exact_match", "illegal_rate", "exact_match_start", "nats_over_optimal"):
        low, high = metrics[f"{name}_ci95"] if name != "exact_match_start" else (0.0, 1.0)
        assert low <= metrics[name] <= high
    assert set(metrics["exact_match_by_length"]) == {"2", "3", "4"}
    assert (metrics["train_iterations"], metrics["best_iteration"]) == (
        6,
        max(
            (row for row in read_rows(finished) if "exact_match" in row),
            key=lambda row: (row["exact_match"], -row["illegal_rate"]),
        )["iteration"],
    )
    best = CheckpointStore(finished / "checkpoints").find("best")
    assert best is not None and finished / result["checkpoint"] == best.path
    facts = best.read_policy_facts()
    assert (facts["workflow"], facts["policy"], facts["holdout"]) == ("trace", "dhmm_gpt2", 0.3)
    assert list(best.policy_folders) == ["tracer"]


def test_evaluate_gives_the_figures_of_the_result(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(finished), "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    expected = read_result(finished)["metrics"]
    for name in ("exact_match", "exact_match_ci95", "exact_match_by_length", "illegal_rate"):
        assert figures[name] == expected[name]


def start_process(run: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a terminal starts it."""
    call = [sys.executable, "-m", "parley.platform.cli", "train", "trace/sorting", "--run-dir"]
    return subprocess.Popen(
        [*call, str(run), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "1"},
        start_new_session=True,
    )


def wait_for_rows(process: subprocess.Popen[str], run: Path, num_rows: int) -> None:
    while len(read_rows(run)) < num_rows:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def child_of(pid: int, title: str) -> int:
    """The process below `pid` whose command line begins with `title`."""
    parents: dict[int, int] = {}
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text().rpartition(")")[2].split()
                if (folder / "cmdline").read_text().startswith(title):
                    found.append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(folder.name)] = int(status[1])
    for child in found:
        above = child
        while above in parents and above != pid:
            above = parents[above]
        if above == pid:
            return child
    raise AssertionError(f"no {title} below {pid}")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_with_a_killed_runner_stopped_and_resumed_equals_a_quiet_one(
    local_ray: None, start: Path, tmp_path: Path
) -> None:
    """A dead runner's groups are written by the others; Ctrl-C saves; --resume goes on."""
    arguments = [*TINY, f"init_from={start}", "ppo.num_iterations=40"]
    reference, run = tmp_path / "reference", tmp_path / "run"
    assert train(reference, *arguments) == 0
    process = start_process(run, *arguments)
    try:
        wait_for_rows(process, run, 4)
        os.kill(child_of(process.pid, "ray::TraceEnvRunner"), signal.SIGKILL)
        wait_for_rows(process, run, 9)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    result, rows = read_result(run), read_rows(run)
    assert result["status"] == "stopped"
    assert 8 <= rows[-1]["iteration"] < 40
    assert train(run, "--resume") == 0
    assert untimed(run) == untimed(reference)
    assert weights_of(run) == weights_of(reference)
    ours, theirs = read_result(run)["metrics"], read_result(reference)["metrics"]
    for name in ("exact_match", "exact_match_start", "best_iteration", "train_tokens"):
        assert ours[name] == theirs[name]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_half_learned_sorting_becomes_better(local_ray: None, tmp_path: Path) -> None:
    """Next-token training is stopped early; PPO makes more of the held-out traces exact."""
    overrides = [
        *TINY,
        "language.min_size=3",
        "language.options.num_values=6",
        "model.embed_size=32",
        "model.ff_hidden=64",
        "rollouts.traces_per_env_runner=64",
        "ppo.num_iterations=60",
        "ppo.learning_rate=3e-4",
        "ppo.minibatch_traces=64",
        "ppo.num_epochs=4",
        "ppo.eval_interval=10",
        "evaluation.sizes=[3]",
        "evaluation.inputs_per_size=200",
        "evaluation.selection_inputs=200",
    ]
    config = load_experiment("trace/sorting", overrides)
    begun = save_tracer(tmp_path / "begun", config, num_steps=450)
    assert train(tmp_path / "run", *overrides, f"init_from={begun}") == 0
    metrics = read_result(tmp_path / "run")["metrics"]
    assert 0.2 < metrics["exact_match_start"] < 0.95
    assert metrics["exact_match"] > metrics["exact_match_start"]
    sampled = [row["sampled_exact_match"] for row in read_rows(tmp_path / "run")[1:]]
    assert mean(sampled[-10:]) > mean(sampled[:5]) + 0.1


WRONG = {
    "minibatch": (["ppo.minibatch_traces=17"], ["ppo.minibatch_traces 17", "16 traces"]),
    "alphabet": (["language.options.num_values=5"], ["alphabet", "11 tokens there, 12 here"]),
    "model": (["model.embed_size=32"], ["another model", "weights differ"]),
    "nothing_there": (["init_from=/no/such/run"], ["/no/such/run"]),
    "split": (["stream.holdout=0.0001"], ["no input of size 2", "change the holdout"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused(
    case: str, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides, parts = WRONG[case]
    run = tmp_path / "run"
    assert train(run, *TINY, f"init_from={start}", *overrides) == 2
    error = capsys.readouterr().err
    for part in parts:
        assert part in error
    assert "Traceback" not in error


def test_a_source_has_nothing_to_reinforce(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "trace/markov", "--run-dir", str(run), "algorithm=ppo"]) == 2
    error = capsys.readouterr().err
    for part in ("markov", "random source", "algorithm=next_token"):
        assert part in error


def test_a_run_of_another_language_is_refused(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ["algorithm=ppo", f"init_from={start}"]
    assert main(["train", "trace/addition", "--run-dir", str(run), *arguments]) == 2
    error = capsys.readouterr().err
    assert f"init_from {start}/checkpoints/iteration_" in error
    assert "speaks sorting, but language.name is addition" in error
