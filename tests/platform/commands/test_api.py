"""The Python API: light to import, typed, with the command line's runs and errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import parley
from parley import ConfigError, InputError, ParleyError, Run, RunStopped, evaluate, load_run, train
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.experiments import EXPERIMENTS
from parley.platform.settings.sections import ExperimentConfig

ROOT = Path(__file__).parents[3]


def train_one_iteration(
    config: ExperimentConfig, run_folder: RunFolder, resume: bool
) -> Mapping[str, object]:
    """Trains nothing, but leaves what a training leaves; the seed says how it ends."""
    run_folder.append_metrics({"iteration": len(run_folder.read_metrics()) + 1})
    CheckpointStore(run_folder.checkpoints).save(1, _save_no_policy, {}, {}, best_score=1.0)
    print("training")
    if config.seed == 1:
        raise RuntimeError("the learner is gone")
    if config.seed == 2 and not resume:
        raise KeyboardInterrupt
    metrics = {"mean_return": 42.0, "mean_return_ci95": [40.0, 44.0]}
    result = {"status": "done", "seconds": 0.5, "metrics": metrics, "checkpoint": None}
    run_folder.write_result(result)
    return result


def evaluate_nothing(path: Path, episodes: int | None, seed: int | None) -> Mapping[str, object]:
    return {"episodes": episodes, "seed": seed}


def _save_no_policy(folder: Path) -> None:
    (folder / "carts").mkdir(parents=True)
    (folder / "carts" / "note.txt").write_text("no policy")


@pytest.fixture
def light_workflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cartpole row served by the functions above, and an empty working directory."""
    row = replace(
        EXPERIMENTS["cartpole", "ppo"],
        run=f"{__name__}:train_one_iteration",
        evaluate=f"{__name__}:evaluate_nothing",
    )
    monkeypatch.setitem(EXPERIMENTS, ("cartpole", "ppo"), row)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_importing_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'ray', 'transformers', 'numpy', 'rich', 'gymnasium'}"
    for program, loaded in (
        (f"import sys, parley; print(sorted({heavy[:-1]}, 'pydantic'}} & set(sys.modules)))", "[]"),
        (
            "import sys; from parley import train, evaluate, load_run\n"
            "print(sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))",
            "[]",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == loaded


def test_a_name_that_is_none_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        parley.trian  # type: ignore[attr-defined]  # noqa: B018


def test_a_finished_run_answers_for_itself(light_workflow: Path) -> None:
    run = train("cartpole/ppo", "policy=mlp", {"seed": 5, "stop.target_return": None}, run_dir="r")
    assert isinstance(run, Run)
    assert run == load_run("r") and run.path == Path("r")
    assert (run.status, run.figures["mean_return"]) == ("done", 42.0)
    assert run.config.seed == 5
    assert run.metrics == [{"iteration": 1}]
    assert run.best_checkpoint == run.checkpoints[-1] == Path("r/checkpoints/iteration_000001")
    assert run.result["experiment"] == "cartpole/ppo"
    with pytest.raises(InputError, match="is no policy over tokens"):
        run.policy()
    with pytest.raises(InputError, match=r"no policy 'b'; name one of carts"):
        run.policy("b")
    assert evaluate(run, episodes=3) == evaluate("r", episodes=3) == {"episodes": 3, "seed": None}
    with pytest.raises(InputError, match="take no --data"):
        evaluate(run, data="x.json")


def test_a_stop_is_an_interrupt_that_says_how_to_go_on(light_workflow: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        train("cartpole/ppo", {"seed": 2}, run_dir="r")
    assert isinstance(caught.value, RunStopped)
    assert "parley train cartpole/ppo --run-dir r --resume" in str(caught.value)
    assert load_run("r").status == "stopped"
    run = train("cartpole/ppo", run_dir="r", resume=True)
    assert (run.status, len(run.metrics)) == ("done", 2)


def test_errors_are_exceptions_and_nothing_exits(light_workflow: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key lr \(did you mean ppo.learning_rate\?\)"):
        train("cartpole/ppo", {"lr": 0.1})
    with pytest.raises(ConfigError, match="no value of a setting"):
        train("cartpole/ppo", {"seed": object()})
    with pytest.raises(ConfigError, match="did you mean cartpole/ppo"):
        train("cartpole/pp")
    with pytest.raises(InputError, match="no run folder absent"):
        load_run("absent")
    with pytest.raises(InputError, match="no run or checkpoint folder absent"):
        evaluate("absent")
    with pytest.raises(RuntimeError, match="the learner is gone"):
        train("cartpole/ppo", {"seed": 1}, run_dir="failed")
    assert load_run("failed").status == "failed"
    assert issubclass(ConfigError, InputError) and issubclass(InputError, ParleyError)


def test_quiet_prints_nothing(light_workflow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("cartpole/ppo", run_dir="r", quiet=True)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")
    train("cartpole/ppo", run_dir="s")
    assert "training" in capsys.readouterr().out


def page_examples() -> str:
    """The examples of the API's page, one after the other."""
    text = (ROOT / "docs" / "tasks" / "python_api.md").read_text()
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_examples_of_the_page_are_typed(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(page_examples())
    call = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*call, str(tmp_path / "page.py")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    """As a script, without a guard around it."""
    (tmp_path / "page.py").write_text(page_examples())
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unknown key lr (did you mean ppo.learning_rate?)" in done.stdout.splitlines()[-1]
    assert (tmp_path / "runs" / "api" / "result.json").is_file()
