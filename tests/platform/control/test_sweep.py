"""`parley tune cartpole/ppo`: trials that are trainings, and what becomes of the best one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parley.platform.cli import main
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.sweep import bundles
from tests.ctrl_c import interrupt_when

pytestmark = pytest.mark.usefixtures("local_ray")

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
]
SPACE = ["sweep.space.ppo.learning_rate.grid=[1e-4, 5e-2]", "sweep.space.ppo.clip.grid=[0.1]"]
SPEEDS = {"seconds", "steps_per_s", "sample_s", "learn_s", "eval_seconds"}
OF_SWEEP = {"config", "evaluation", "score", "trial"}


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_trials(run: Path) -> list[dict[str, Any]]:
    trials: list[dict[str, Any]] = json.loads((run / "trials.json").read_text())
    return trials


def tune(run: Path, *arguments: str) -> dict[str, Any]:
    assert main(["tune", "cartpole/ppo", "--run-dir", str(run), *TINY, *arguments]) == 0
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    return result


@pytest.fixture(scope="module")
def swept(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a sweep of two trials."""
    run = tmp_path_factory.mktemp("cartpole") / "run"
    tune(run, *SPACE)
    return run


def test_the_best_trial_is_exported_and_measured(swept: Path) -> None:
    trials = read_trials(swept)
    assert [trial["status"] for trial in trials] == ["done", "done"]
    best = max(trials, key=lambda trial: trial["metrics"]["score"])
    metrics = json.loads((swept / "result.json").read_text())["metrics"]
    assert metrics["best_trial"] == best["trial"]
    assert metrics["best_config"] == best["config"]
    assert metrics["best_score"] == best["metrics"]["eval_return"] == best["metrics"]["score"]
    assert metrics["train_env_steps"] == best["metrics"]["env_steps"]
    assert metrics["episodes"] == 6
    pointer = json.loads((swept / "checkpoints/best.json").read_text())
    assert pointer["score"] == metrics["best_score"]
    assert pointer["iteration"] == best["metrics"]["iteration"]


def test_a_trial_learns_as_a_training_with_its_settings(swept: Path, tmp_path: Path) -> None:
    config = read_trials(swept)[1]["config"]
    values = [f"{key}={value}" for key, value in config.items()]
    run = tmp_path / "run"
    assert main(["train", "cartpole/ppo", "--run-dir", str(run), *TINY, *values]) == 0
    trained = [row for row in read_rows(run / "metrics.jsonl") if "eval_return" in row]
    tried = read_rows(swept / "trials/00001/rows.jsonl")
    assert len(tried) == len(trained) == 3
    for own, other in zip(tried, trained, strict=True):
        assert own["score"] == other["eval_return"]
        assert {key: value for key, value in own.items() if key not in SPEEDS | OF_SWEEP} == {
            key: value for key, value in other.items() if key not in SPEEDS
        }


def test_a_sweep_is_evaluated_watched_and_reported_as_a_run(
    swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    assert main(["evaluate", str(swept), "--episodes", "2", "--json", str(figures)]) == 0
    assert json.loads(figures.read_text())["episodes"] == 2
    assert main(["watch", str(swept), "--out", str(tmp_path / "episode.gif")]) == 0
    assert main(["report", str(swept), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "Trials" in page
    assert "environment steps" in page
    assert "held-out" not in page


def test_a_trial_takes_a_cpu_for_each_of_its_actors() -> None:
    config = CartPolePPOConfig.model_validate(
        {
            "rollouts": {"num_env_runners": 2, "resources": {"spot": 1.0}},
            "learner": {"num_learners": 1, "num_gpus_per_learner": 0},
            "sweep": {"cpus_per_trial": 0.5},
        }
    )
    runner = {"CPU": 1, "spot": 1.0}
    assert bundles(config) == [{"CPU": 0.5}, runner, runner, {"CPU": 1.0}]


@pytest.mark.slow
def test_a_stopped_sweep_is_resumed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = [*SPACE, "sweep.max_concurrent=1", "stop.max_env_steps=8192"]
    often = [*arguments, "evaluation.interval_env_steps=1024"]
    rows = run / "trials/00000/rows.jsonl"
    interrupt_when(lambda: rows.is_file() and bool(rows.read_text()))
    assert main(["tune", "cartpole/ppo", "--run-dir", str(run), *TINY, *often]) == 130
    assert read_trials(run)[0]["status"] == "running"
    assert main(["tune", "cartpole/ppo", "--run-dir", str(run), "--resume"]) == 0
    assert [trial["status"] for trial in read_trials(run)] == ["done", "done"]
    for number in range(2):
        path = run / f"trials/0000{number}/rows.jsonl"
        assert [row["env_steps"] for row in read_rows(path)] == list(range(1024, 8193, 1024))


@pytest.mark.slow
def test_a_population_goes_on_from_the_best_with_other_settings(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = tune(
        run,
        "sweep.space.ppo.learning_rate.grid=none",
        "sweep.space.ppo.learning_rate.log_uniform=[1e-5, 5e-2]",
        "sweep.space.ppo.clip.grid=none",
        "sweep.space.ppo.clip.uniform=[0.05, 0.4]",
        "sweep.num_samples=2",
        "sweep.scheduler=pbt",
        "sweep.pbt.perturbation_evaluations=2",
        "sweep.pbt.quantile=0.5",
        "stop.max_env_steps=2048",
    )
    assert result["metrics"]["trials_done"] == 2
    rows = read_rows(run / "metrics.jsonl")
    begun = [row["config"] for row in rows if row["evaluation"] == 1]
    assert len(begun) == 2
    later = [row["config"] for row in rows if row["config"] not in begun]
    assert later
    for config in later:
        assert 1e-5 <= config["ppo.learning_rate"] <= 5e-2 and 0.05 <= config["ppo.clip"] <= 0.4
    for trial in ("00000", "00001"):
        assert [row["env_steps"] for row in rows if row["trial"] == trial][-1] >= 2048


@pytest.mark.slow
def test_successive_halving_ends_trials_early(tmp_path: Path) -> None:
    result = tune(
        tmp_path / "run",
        "sweep.space.ppo.learning_rate.grid=[1e-5, 1e-3, 1e-2, 5e-2]",
        "sweep.space.ppo.clip.grid=[0.2]",
        "sweep.scheduler=asha",
        "sweep.asha.grace_evaluations=1",
        "sweep.asha.reduction_factor=2",
        "sweep.max_concurrent=1",
        "stop.max_env_steps=2048",
    )
    metrics = result["metrics"]
    assert metrics["trials_done"] + metrics["trials_stopped_early"] == 4
    assert metrics["trials_stopped_early"] > 0


@pytest.mark.slow
def test_a_sweep_finds_settings_that_balance_the_pole(tmp_path: Path) -> None:
    run = tmp_path / "run"
    call = ["tune", "cartpole/ppo", "--run-dir", str(run), "policy=mlp"]
    call += ["sweep.space.ppo.learning_rate.grid=[1e-6, 2e-3]", "sweep.space.ppo.clip.grid=[0.2]"]
    assert main(call) == 0
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    assert metrics["best_config"]["ppo.learning_rate"] == 2e-3
    assert metrics["mean_return"] > 300
    poor = read_trials(run)[0]
    assert poor["metrics"]["score"] < metrics["best_score"]
