"""The command line: what loads, what is printed, which exit code comes back."""

from __future__ import annotations

import fnmatch
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from parley.envs import ENVIRONMENTS
from parley.envs.trace.languages import LANGUAGES
from parley.platform.cli import COMMANDS, main, parse_arguments
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.experiments import EXPERIMENTS
from parley.platform.settings.loading import load_experiment
from parley.platform.settings.packaged import list_experiments
from parley.platform.settings.sections import ExperimentConfig
from parley.policies.token.table import POLICIES

NAMED = {"MODEL": ["auto", "parley-tiny", "a/folder"], "LANGUAGE": [*LANGUAGES]}
"""What stands for a row of a table -> the rows."""
SIZES = ("language.min_size=2", "language.max_size=3", "evaluation.sizes=[]")
"""Sizes that every language has."""
HEAVY = ("torch", "ray", "transformers", "pydantic", "rich", "numpy", "gymnasium")


def train_two_iterations(
    config: ExperimentConfig, run_folder: RunFolder, resume: bool
) -> Mapping[str, object]:
    """Trains nothing, but leaves what a training leaves; the seed says how it ends."""
    run_folder.append_metrics({"iteration": 1, "mean_return": 20.0})
    if config.seed == 1:
        raise RuntimeError("the learner is gone")
    if config.seed == 4:
        CheckpointStore(run_folder.checkpoints).save(1, save_no_policy, {}, {})
    if config.seed in (2, 4):
        raise KeyboardInterrupt
    metrics = {"mean_return": 42.0, "mean_return_ci95": [40.0, 44.0], "resumed": resume}
    if config.seed == 3:
        metrics |= {"trials": 9, "trials_failed": 2}
    result = {"status": "done", "seconds": 0.5, "metrics": metrics, "checkpoint": None}
    run_folder.write_result(result)
    return result


def save_no_policy(folder: Path) -> None:
    (folder / "policy").mkdir(parents=True)
    (folder / "policy" / "config.json").write_text("{}")


def evaluate_nothing(path: Path, episodes: int | None, seed: int | None) -> Mapping[str, object]:
    return {"mean_return": 42.0, "episodes": episodes, "seed": seed}


def watch_nothing(path: Path, out: Path | None, seed: int) -> Path | None:
    return out


@pytest.fixture
def light_workflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cartpole row served by the functions above, and an empty working directory."""
    row = replace(
        EXPERIMENTS["cartpole", "ppo"],
        run=f"{__name__}:train_two_iterations",
        evaluate=f"{__name__}:evaluate_nothing",
        watch=f"{__name__}:watch_nothing",
    )
    monkeypatch.setitem(EXPERIMENTS, ("cartpole", "ppo"), row)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=["", *COMMANDS])
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    program = (
        "import sys; from parley.platform.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    )
    call = [sys.executable, "-c", program, *command, "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: parley")
    assert done.stderr.strip() == "[]"


def test_the_list_loads_nothing_heavy() -> None:
    program = (
        "import sys; from parley.platform.cli import main\n"
        f"main(['list']); print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_wrong_setting_loads_neither_torch_nor_ray() -> None:
    program = (
        "import sys; from parley.platform.cli import main\n"
        "code = main(['train', 'cartpole/ppo', 'ppo.clip=3'])\n"
        "print(code, sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    )
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
    assert done.stderr == (
        "parley train: override ppo.clip=3: ppo.clip = 3: must be less than 1.0\n"
    )


def test_runs_as_a_module_from_the_root() -> None:
    root = Path(__file__).parents[3]
    call = [sys.executable, "-m", "parley.platform.cli", "--version"]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.startswith("parley 0.")


@pytest.mark.parametrize(
    "argv",
    [
        ["trian"],
        [],
        ["train"],
        ["train", "cartpole/ppo", "--run-dir"],
        ["train", "cartpole/ppo", "--fast"],
        ["evaluate", "run", "--episodes", "0"],
        ["evaluate", "run", "--episodes", "many"],
        ["evaluate", "run", "--seed", "-1"],
    ],
)
def test_wrong_usage_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: parley" in capsys.readouterr().err


def test_options_and_overrides_stand_in_any_order() -> None:
    arguments = parse_arguments(
        ["train", "--quick", "cartpole/ppo", "seed=1", "--run-dir", "x", "policy=mlp", "--resume"]
    )
    assert (arguments.experiment, arguments.overrides) == ("cartpole/ppo", ["seed=1", "policy=mlp"])
    assert (arguments.quick, arguments.resume, arguments.run_dir) == (True, True, Path("x"))


def test_list_has_a_line_for_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    names = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    algorithms = {name for _, name in EXPERIMENTS}
    assert {*list_experiments(), *ENVIRONMENTS, *POLICIES, *algorithms} <= names


def test_every_name_of_the_list_can_be_passed_as_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What stands below an experiment, and each table's names for the experiments beside them."""
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    experiment, tried = "", 0
    for line in lines[1 : lines.index("environments")]:
        words = line.split()
        if "=" not in words[0]:
            experiment = words[0]
            continue
        key, values = words[0].split("=")
        for value in NAMED.get(values, values.split("|")):
            sizes = SIZES if values == "LANGUAGE" else ()
            load_experiment(experiment, [f"{key}={value}", *sizes])
            tried += 1
    assert tried > 40
    for key, names in (("policy", POLICIES), ("algorithm", [name for _, name in EXPERIMENTS])):
        for name in names:
            line = next(row for row in reversed(lines) if row.split()[0] == name)
            for pattern in line[line.rindex("(") + 1 : -1].split(", "):
                experiments = fnmatch.filter(list_experiments(), pattern)
                assert experiments
                for experiment in experiments:
                    load_experiment(experiment, [f"{key}={name}"])


def test_doctor_answers_with_a_mark_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    for subject in (
        "python",
        "torch",
        "memory",
        "/dev/shm",
        "gpu",
        "port 6379",
        "runs/",
        "display",
    ):
        assert any(subject in line for line in lines), subject


def test_train_leaves_a_run_and_prints_its_figures(
    light_workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "cartpole/ppo", "--run-dir", "mine", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "run folder: mine" in out
    assert "95 % interval 40 to 44" in out
    result = json.loads((light_workflow / "mine" / "result.json").read_text())
    assert (result["status"], result["metrics"]["resumed"]) == ("done", False)


def test_a_result_with_failed_trials_is_a_failure(
    light_workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "cartpole/ppo", "seed=3", "--run-dir", "sweep"]) == 1
    told = capsys.readouterr()
    assert "2 of 9 trials failed; why stands in sweep/trials/*/error.txt" in told.err
    assert "trials_failed" in told.out
    assert json.loads(Path("sweep/result.json").read_text())["status"] == "done"


def test_a_run_begins_or_goes_on_by_itself(
    light_workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "cartpole/ppo", "--auto-resume"]
    assert main(call) == 2
    assert "--auto-resume needs a --run-dir" in capsys.readouterr().err
    for resumed in (False, True):
        assert main([*call, "--run-dir", "run"]) == 0
        assert json.loads(Path("run/result.json").read_text())["metrics"]["resumed"] is resumed


@pytest.mark.parametrize(("seed", "code", "status"), [(1, 1, "failed"), (2, 130, "stopped")])
def test_a_broken_off_run_keeps_what_it_has(
    seed: int, code: int, status: str, light_workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "cartpole/ppo", f"seed={seed}", "--run-dir", "mine"]) == code
    result = json.loads((light_workflow / "mine" / "result.json").read_text())
    assert (result["status"], result["metrics"]["mean_return"]) == (status, 20.0)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert ("the learner is gone" in error) == (code == 1)
    assert RunFolder.open(light_workflow / "mine").config.seed == seed


def test_a_stop_names_the_folder_and_the_command_that_goes_on(
    light_workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "cartpole/ppo", "seed=2", "--run-dir"]
    assert main([*argv, "my run"]) == 130
    told = capsys.readouterr().err
    assert "parley train: stopped before there was anything to save; my run holds the" in told
    assert "--resume" not in told
    argv[2] = "seed=4"
    assert main([*argv, "my other run"]) == 130
    told = capsys.readouterr().err
    assert "parley train: stopped; my other run keeps what was reached. Resume it by" in told
    call = told.splitlines()[-1]
    assert call == "  parley train cartpole/ppo --run-dir 'my other run' --resume"
    assert main([*shlex.split(call)[1:]]) == 130  # the same again: its seed is kept


def test_the_command_that_goes_on_holds_wherever_the_run_lies(
    light_workflow: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs below another root, filed under another name, of a file of one's own."""
    (light_workflow / "my files").mkdir()
    (light_workflow / "my files" / "own.toml").write_text(
        'workflow = "cartpole"\nalgorithm = "ppo"\nseed = 4\n'
    )
    monkeypatch.setenv("PARLEY_RUNS_ROOT", str(light_workflow / "root"))
    for argv in (
        ["my files/own.toml", "--run-dir", "one"],
        ["cartpole/ppo", "seed=4", "experiment=mine", "--run-dir", "two"],
        ["cartpole/ppo", "seed=4"],
    ):
        assert main(["train", *argv]) == 130
        call = shlex.split(capsys.readouterr().err.splitlines()[-1])
        assert Path(call[call.index("--run-dir") + 1]).is_absolute()
        assert main(call[1:]) == 130
        assert f"--run-dir {call[-2]} --resume" in capsys.readouterr().err


def test_debug_adds_the_traceback(
    light_workflow: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_DEBUG", "1")
    assert main(["train", "cartpole/ppo", "seed=1"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_resume_goes_on_with_the_named_or_the_newest_run(light_workflow: Path) -> None:
    assert main(["train", "cartpole/ppo"]) == 0
    assert main(["train", "cartpole/ppo", "--resume"]) == 0
    (run,) = Path("runs/cartpole/ppo").iterdir()
    resume = ["train", "cartpole/ppo", "--run-dir", str(run), "--resume"]
    assert main([*resume, "stop.max_env_steps=7"]) == 0
    config = RunFolder.open(run).config
    assert isinstance(config, CartPolePPOConfig)
    assert config.stop.max_env_steps == 7
    assert json.loads((run / "result.json").read_text())["metrics"]["resumed"] is True


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["cartpole/ppo", "--run-dir", "mine"], "--resume"),
        (["cartpole/ppo", "--run-dir", "mine", "--resume", "seed=9"], "change seed"),
        (["cartpole/imitate", "--run-dir", "mine", "--resume"], "is a run of cartpole/ppo"),
        (["cartpole/ppo", "--run-dir", "absent", "--resume"], "no run folder"),
        (["cartpole/ppo", "--resume"], "no run of cartpole/ppo"),
    ],
)
def test_a_run_is_not_overwritten_or_mixed_up(
    argv: list[str], message: str, light_workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "cartpole/ppo", "--run-dir", "mine"]) == 0
    assert main(["train", *argv]) == 2
    assert message in capsys.readouterr().err


def test_evaluate_writes_flat_json(light_workflow: Path) -> None:
    RunFolder.create(CartPolePPOConfig(), light_workflow / "mine").close()
    argv = ["evaluate", "mine", "--json", "figures.json", "--episodes", "3", "--seed", "8"]
    assert main(argv) == 0
    figures = json.loads((light_workflow / "figures.json").read_text())
    assert figures == {"mean_return": 42.0, "episodes": 3, "seed": 8}


def test_a_checkpoint_is_recognised_by_its_run_or_its_own_file(light_workflow: Path) -> None:
    with RunFolder.create(CartPolePPOConfig(), light_workflow / "mine") as run:
        (run.checkpoints / "best").mkdir()
    (light_workflow / "copied").mkdir()
    (light_workflow / "copied" / "config.json").write_text("{}")
    for path in ("mine/checkpoints/best", "copied"):
        assert main(["evaluate", path]) == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evaluate", "absent"], "no run or checkpoint folder absent"),
        (["evaluate", "."], "neither a run folder"),
        (["evaluate", "mine", "--data", "rows.csv"], "take no --data"),
        (["evaluate", "mine", "--json", "no/such/file.json"], "no folder no/such"),
        (["watch", "mine", "--out", "no/such/file.gif"], "no folder no/such"),
        (["watch", "absent"], "no run or checkpoint folder absent"),
    ],
)
def test_wrong_targets_exit_with_2(
    argv: list[str], message: str, light_workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder.create(CartPolePPOConfig(), light_workflow / "mine").close()
    assert main(argv) == 2
    assert message in capsys.readouterr().err


def test_watch_says_where_the_episode_lies(
    light_workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder.create(CartPolePPOConfig(), light_workflow / "mine").close()
    assert main(["watch", "mine", "--out", "episode.gif"]) == 0
    assert capsys.readouterr().out == "episode: episode.gif\n"


def test_a_closed_pipe_is_no_error() -> None:
    call = f"{sys.executable} -m parley.platform.cli list | true"
    shell = ["bash", "-o", "pipefail", "-c", call]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
