"""Imitation runs from start to end: through Ray Train, stopped, resumed, and as a warm start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parley.envs.cartpole.episodes import EpisodeSet
from parley.platform.cli import main
from parley.platform.control.imitation_run import run_imitation
from parley.platform.control.settings import CartPoleImitateConfig, CartPolePPOConfig
from parley.platform.control.warm_start import load_warm_start
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.runs.checkpoints import CheckpointError
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import replace_overrides
from tests.ctrl_c import interrupt_when

TINY = {
    "env": {"window": 2, "max_steps": 60},
    "model": {"embed_size": 16, "heads": 2, "ff_hidden": 32, "num_states": 4},
    "data": {"num_expert_episodes": 8, "num_random_episodes": 4, "num_workers": 2},
    "training": {
        "num_steps": 60,
        "batch_size": 8,
        "crop_steps": 2,
        "warmup_steps": 5,
        "eval_interval": 20,
    },
    "evaluation": {"episodes": 4, "selection_episodes": 3},
    "checkpoint": {"interval_iterations": 30, "keep": 8},
}
OVERRIDES = [f"{section}.{key}={value}" for section, t in TINY.items() for key, value in t.items()]
TIMES = ("seconds", "steps_per_s", "tokens_per_s", "eval_seconds")


def make_config(*overrides: str) -> CartPoleImitateConfig:
    config = replace_overrides(CartPoleImitateConfig.model_validate(TINY), overrides)
    assert isinstance(config, CartPoleImitateConfig)
    return config


def train(folder: Path, *overrides: str, resume: bool = False) -> dict[str, Any]:
    config = make_config(*overrides)
    opened = RunFolder.resume(folder) if resume else RunFolder.create(config, folder)
    with opened as run_folder:
        return run_imitation(config, run_folder, resume)


def figures(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics, without times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def finished(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("imitation") / "run"
    train(folder)
    return folder


def test_a_run_leaves_its_figures_and_files(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    metrics = result["metrics"]
    assert (result["status"], result["device"]) == ("done", "cpu")
    assert metrics["episodes"] == 4
    assert metrics["min_return"] <= metrics["mean_return"] <= 60
    assert 0 <= metrics["other_token_rate"] <= 1
    for name in ("mean_return", "other_token_rate"):
        low, high = metrics[f"{name}_ci95"]
        assert low <= metrics[name] <= high
    for name in ("heldout_loss", "heldout_loss_state", "heldout_loss_action", "heldout_loss_done"):
        assert 0 < metrics[name] < 6
    rows = figures(finished)
    assert [row["iteration"] for row in rows] == [20, 40, 60]
    assert rows[-1]["heldout_loss"] < rows[0]["heldout_loss"] < 3.9
    best = max(rows, key=lambda row: (row["eval_return"], -row["heldout_loss"]))
    assert result["checkpoint"] == f"checkpoints/iteration_{best['iteration']:06d}"
    assert metrics["heldout_loss"] == best["heldout_loss"]
    saved = sorted(path.name for path in (finished / "checkpoints").glob("iteration_*"))
    assert saved == [f"iteration_{step:06d}" for step in (20, 30, 40, 60)]
    assert (finished / "learning_curve.png").stat().st_size > 1_000
    assert len(EpisodeSet.load(finished / "episodes.parquet", num_bins=10)) == 12


def test_ppo_can_start_from_it(finished: Path) -> None:
    settings = {section: TINY[section] for section in ("env", "model")}
    config = CartPolePPOConfig.model_validate({**settings, "init_from": str(finished)})
    warm_start = load_warm_start(config)
    result = json.loads((finished / "result.json").read_text())
    assert 0 < warm_start.env_steps == result["metrics"]["train_env_steps"]
    assert "value_head.weight" in warm_start.state_dict
    other = config.model_copy(update={"policy": "gpt2"})
    with pytest.raises(CheckpointError, match="another model"):
        load_warm_start(other)


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_never_stopped(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    interrupt_when((folder / "metrics.jsonl").exists)
    with pytest.raises(KeyboardInterrupt):
        train(folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "stopped"
    assert result["metrics"]["iteration"] < 60
    assert train(folder, resume=True)["status"] == "done"
    assert figures(folder) == figures(finished)
    ends = [json.loads((path / "result.json").read_text()) for path in (folder, finished)]
    for end in ends:
        for name in ("steps_per_s", "train_seconds"):
            end["metrics"].pop(name)
    assert ends[0]["metrics"] == ends[1]["metrics"]


@pytest.mark.slow
def test_two_learners_give_the_figures_of_one(finished: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", "learner.num_learners=2")
    for one, two in zip(figures(finished), figures(tmp_path / "run"), strict=True):
        assert two["heldout_loss"] == pytest.approx(one["heldout_loss"], rel=1e-4)
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)


@pytest.mark.slow
def test_divergence_fails_the_run(local_ray: None, tmp_path: Path) -> None:
    wild = ("training.learning_rate=1e30", "training.max_grad_norm=1e30")
    with pytest.raises(NonFiniteLossError, match=r"nan .*lower training\.learning_rate"):
        train(tmp_path / "run", *wild)


def test_more_learners_than_cpus_are_refused(local_ray: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"num_learners 64 needs as many CPUs.*counts 4"):
        train(tmp_path / "run", "learner.num_learners=64")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.path=absent.parquet", "data.path absent.parquet: no such file or folder"),
        ("training.crop_steps=1", "shorter than env.window 2"),
        ("data.holdout=0.01", "nothing to measure on"),
    ],
)
def test_wrong_input_exits_with_2(
    override: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    # With a file of one's own nothing is recorded.
    own = override.startswith("data.path")
    settings = [one for one in OVERRIDES if not (own and one.startswith("data."))]
    assert main(["train", "cartpole/imitate", *settings, override, "--run-dir", "run"]) == 2
    error = capsys.readouterr().err
    assert message in error


@pytest.mark.slow
def test_the_command_line_trains_and_evaluates(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "parley.platform.cli"]
    run = tmp_path / "run"
    done = subprocess.run(
        [*call, "train", "cartpole/imitate", *OVERRIDES, "--run-dir", str(run)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "heldout_loss_action" in done.stdout
    assert "Traceback" not in done.stderr
    assert json.loads((run / "result.json").read_text())["status"] == "done"
    evaluate = [*call, "evaluate", str(run), "--episodes", "2"]
    measured = subprocess.run(evaluate, capture_output=True, text=True, check=False)
    assert measured.returncode == 0, measured.stderr
    assert "other_token_rate" in measured.stdout
