"""`parley tune` on the command line: what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from parley.platform.cli import main
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.experiments import EXPERIMENTS
from parley.platform.settings.loading import load_experiment
from tests.platform.engine.sweeps import sweep_trials

SMALL = "sweep.space.dpo.learning_rate.grid=[1e-4]"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps of `dialogue/dpo` count steps."""
    monkeypatch.setattr(sweep_trials, "PARTS", sweep_trials.make_parts(), raising=False)
    parts = "tests.platform.engine.sweeps.sweep_trials:PARTS"
    row = replace(EXPERIMENTS["dialogue", "dpo"], sweep=parts)
    monkeypatch.setitem(EXPERIMENTS, ("dialogue", "dpo"), row)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cartpole/imitate"], ["cartpole/imitate", "cartpole/ppo, dialogue/dpo"]),
        (
            ["cartpole/ppo", "sweep.space.ppo.clipp.grid=[0.1]"],
            ["ppo.clipp", "did you mean sweep.space.ppo.clip"],
        ),
        (["cartpole/ppo", "sweep.space.stop.max_env_steps.grid=[9]"], ["stop.max_env_steps"]),
        (["cartpole/ppo", "sweep.space.ppo.clip.grid=[2.0]"], ["ppo.clip", "less than 1"]),
        (
            ["cartpole/ppo", "sweep.scheduler=pbt", "sweep.space.model.layers.grid=[1, 2]"],
            ["pbt", "model.layers cannot change"],
        ),
        (["cartpole/ppo", "evaluation.interval_env_steps=0"], ["interval_env_steps", "compared"]),
        (["dialogue/distort"], ["dialogue/distort", "no settings to search", "dialogue/dpo"]),
        (["trace/sorting"], ["trace/sorting by next_token", "no settings", "trace/ppo"]),
        (["trace/sorting", "algorithm=ppo"], ["sweep.space is empty", "ppo.learning_rate.grid"]),
        (
            ["trace/sorting", "algorithm=ppo", "sweep.space.model.layers.grid=[1]"],
            ["unknown key sweep.space.model.layers"],
        ),
        (["dialogue/dpo", "sweep.space.dpo.betta.grid=[0.1]"], ["betta"]),
        (["dialogue/dpo", "sweep.space.lora.rank.grid=[-2]"], ["lora.rank", "at least 0"]),
        (["dialogue/dpo", "sweep.num_samples=2"], ["num_samples", "same seed"]),
        (["dialogue/dpo", "sweep.space.dpo.beta.grid=[-1.0]"], ["dpo.beta", "greater than 0"]),
        (["dialogue/dpo", "sweep.scheduler=hyperband"], ["sweep.scheduler", "asha"]),
    ],
)
def test_wrong_input_is_refused_before_anything_starts(
    arguments: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["tune", *arguments, "--run-dir", str(run)]) == 2
    error = capsys.readouterr().err
    for word in words:
        assert word in error
    assert not run.exists()


def test_an_unknown_key_in_a_file_names_those_that_can_be_searched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    text = 'workflow = "dialogue"\nalgorithm = "dpo"\n[sweep.space]\ndpo.betta.grid = [0.1]\n'
    file.write_text(text)
    assert main(["tune", str(file), "--run-dir", str(tmp_path / "run")]) == 2
    assert "did you mean dpo.beta?" in capsys.readouterr().err


def test_a_training_run_is_not_resumed_as_a_sweep_nor_the_other_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    RunFolder.create(load_experiment("dialogue/dpo"), run).close()
    assert main(["tune", "dialogue/dpo", "--run-dir", str(run), "--resume"]) == 2
    assert "parley train --resume" in capsys.readouterr().err
    (run / "trials.json").write_text("[]")
    assert main(["train", "dialogue/dpo", "--run-dir", str(run), "--resume"]) == 2
    assert "parley tune --resume" in capsys.readouterr().err


def test_resuming_finds_the_newest_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tune", "dialogue/dpo", "--resume"]) == 2
    assert "no sweep of dialogue/dpo" in capsys.readouterr().err


def test_help_and_a_wrong_key_load_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from parley.platform.cli import main\n"
        "try: main(['tune', 'dialogue/dpo', 'dpo.betta=1'])\n"
        "finally: print([name for name in ('torch', 'ray', 'trl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]"
    assert "did you mean dpo.beta?" in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in", "local_ray")
def test_a_sweep_prints_its_trials_and_writes_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["tune", "dialogue/dpo", SMALL, "--run-dir", str(run)]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[0].startswith("run folder: ")
    assert "trial  beta  learning_rate" in output.out
    assert "best_trial" in output.out
    assert max(map(len, output.out.splitlines()[1:6])) <= 80
    assert output.err.count("done: score") == 3
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "done"
    assert result["experiment"] == "dialogue/dpo"
    assert result["metrics"]["best_config"]["dpo.beta"] == 0.1
    assert main(["tune", "dialogue/dpo", SMALL, "--run-dir", str(run)]) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in", "local_ray")
def test_a_failed_trial_fails_the_command_which_keeps_the_best_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = sweep_trials.make_parts({"faults": {"0.3": (2, "raise")}})
    monkeypatch.setattr(sweep_trials, "PARTS", parts)
    run = tmp_path / "run"
    arguments = ["tune", "dialogue/dpo", SMALL, "sweep.max_failures=0", "--run-dir", str(run)]
    assert main(arguments) == 1
    assert "1 of 3 trials failed" in capsys.readouterr().err
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "done"
    assert result["metrics"]["best_config"]["dpo.beta"] == 0.1
    assert "broken at step 2" in (run / "trials" / "00002" / "error.txt").read_text()
