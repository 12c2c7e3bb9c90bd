"""`parley submit` before anything is sent: what is checked, and what would be sent."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from pathlib import Path

import pytest

from parley.platform.cli import main, parse_arguments
from parley.platform.cluster.job_package import MAX_SIZE_BYTES, write_package
from parley.platform.cluster.submission import JobRequest, new_submission_id, read_runtime_env
from parley.platform.commands.going_on import describe_stop, resuming_call
from parley.platform.commands.submit import _find_address, _make_request
from parley.platform.errors import InputError
from parley.platform.runs.run_folder import TRIALS_FILE, RunFolder
from parley.platform.runs.run_place import UPLOADS_DIR, locate_run
from parley.platform.settings.loading import load_experiment

NOWHERE = "http://127.0.0.1:1"


def request_of(*arguments: str) -> JobRequest:
    parsed: argparse.Namespace = parse_arguments(["submit", *arguments])
    request = _make_request(parsed)
    assert isinstance(request, JobRequest)
    return request


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "PARLEY_RUNS_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cartpole/pp"], "did you mean cartpole/ppo?"),
        (["cartpole/ppo", "ppo.clap=0.1"], "unknown key ppo.clap"),
        (["cartpole/ppo", "ray.address=auto"], "ray.address is the job's own cluster"),
        (["cartpole/imitate", "--tune"], "no settings to search"),
        (["cartpole/ppo", "--resume"], "--resume needs the --run-dir"),
        (["cartpole/ppo", "--submission-id", "../../etc"], "is not a name"),
        (["cartpole/ppo", "--submission-id", "a/b"], "is not a name"),
        (["cartpole/ppo", "--submission-id", ""], "is not a name"),
        (["cartpole/ppo", "--runtime-env", "absent.yaml"], "absent.yaml: cannot be read"),
        (["--stop", "../x"], "job '../x' is not a name"),
        (["--follow", "x"], "no Ray job server answers"),
        (["cartpole/ppo", "--stop", "x"], "name one of EXPERIMENT, --follow ID and --stop ID"),
        ([], "name one of EXPERIMENT"),
        (["cartpole/ppo"], "no Ray job server answers at http://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_a_remedy(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", *arguments, "--address", NOWHERE]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "address", ["127.0.0.1:6379", "ray://127.0.0.1:10001", "auto", "ftp://host", "http://"]
)
def test_only_the_dashboard_takes_jobs(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"--address .* is not the URL of a dashboard"):
        _find_address(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=r"RAY_ADDRESS .* is not the URL of a dashboard"):
        _find_address(None)


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _find_address(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_ADDRESS", "http://ray:8265")
    assert _find_address(None) == "http://ray:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://api:8265")
    assert _find_address(None) == "http://api:8265"
    assert _find_address("https://mine:443/") == "https://mine:443"


def test_the_driver_is_called_as_the_person_would(tmp_path: Path) -> None:
    request = request_of("cartpole/ppo", "seed=3", "--submission-id", "mine", "--quick")
    assert request.entrypoint == (
        "python -m parley.platform.cli train cartpole/ppo seed=3 --quick "
        "--run-dir runs/cartpole/ppo/mine"
    )
    (tmp_path / "own.toml").write_text('workflow = "cartpole"\nalgorithm = "ppo"\n')
    request = request_of("own.toml", "--run-dir", "/shared/a run; rm -rf x", "--resume")
    assert request.experiment_file == Path("own.toml")
    assert shlex.split(request.entrypoint)[3:] == [
        *("train", "own.toml", "--resume", "--run-dir", "/shared/a run; rm -rf x")
    ]
    assert request_of("dialogue/dpo", "--tune").command == "tune"
    assert request_of("cartpole/ppo", "--gpus", "1", "--cpus", "0.5").num_gpus == 1.0


def test_a_home_is_expanded_by_the_shell_of_the_cluster() -> None:
    request = JobRequest("train", "x.toml", ("a=$HOME b",), "~/runs/with space", "id")
    expanded = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {request.entrypoint}"],
        env={"HOME": "/home/of/cluster"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert expanded[-1] == "/home/of/cluster/runs/with space"
    assert "a=$HOME b" in expanded


def test_paths_of_this_machine_are_made_absolute_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "imitated").mkdir()
    (tmp_path / "mlp").mkdir()
    request = request_of("cartpole/ppo", "policy=mlp", "init_from=imitated")
    assert request.arguments[-1] == f"init_from={tmp_path / 'imitated'}"
    assert "is not uploaded" in capsys.readouterr().err
    assert not [text for text in request.arguments if text.startswith("policy=/")]
    (tmp_path / "rows.json").write_text("[]")
    request = request_of("dialogue/detector", 'data.labelled=["rows.json", "/shared/b.json"]')
    assert request.arguments[-1] == f'data.labelled=["{tmp_path}/rows.json", "/shared/b.json"]'
    (tmp_path / "parley").mkdir()  # also the name of a project of a tracker
    assert len(request_of("cartpole/ppo").arguments) == 0
    (tmp_path / "here").mkdir()
    for given in ("/shared/x", str(tmp_path / "here")):
        arguments = request_of("cartpole/ppo", f"init_from={given}").arguments
        assert arguments == (f"init_from={given}",)


def test_names_of_jobs_tell_what_runs_and_differ() -> None:
    names = {new_submission_id("cartpole/ppo") for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("cartpole-ppo-2") and len(name) <= 64 for name in names)
    assert len(new_submission_id("x/" * 60)) <= 64


def test_the_package_is_the_code_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("seed = 1\n")
    target = tmp_path / "upload"
    target.mkdir()
    size_bytes = write_package(target, tmp_path / "own.toml")
    assert 0 < size_bytes < MAX_SIZE_BYTES
    assert {path.name for path in target.iterdir()} == {"parley", "own.toml"}
    assert (target / "parley/platform/cli.py").is_file()
    assert (target / "parley/tune_configs/cartpole/ppo.toml").is_file()
    assert not (target / "parley/platform/__init__.py").exists()
    files = [path for path in target.rglob("*") if path.is_file()]
    assert not [path for path in target.rglob("*") if path.is_symlink()]
    assert {path.suffix for path in files} == {".py", ".toml", ".typed"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("working_dir: .", "working_dir is parley's own code"),
        ("- pip", "not a table"),
        ("env_vars: [A]", "env_vars is not a table"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_runtime_environment_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "env.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        read_runtime_env(tmp_path / "env.yaml")


def test_variables_of_a_runtime_environment_are_text(tmp_path: Path) -> None:
    (tmp_path / "env.yaml").write_text("pip: [wandb]\nenv_vars: {A: 1, B: text}\n")
    found = read_runtime_env(tmp_path / "env.yaml")
    assert found == {"pip": ["wandb"], "env_vars": {"A": "1", "B": "text"}}


def test_relative_runs_outlive_the_upload_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert locate_run(Path("runs/x")) == Path("runs/x")
    upload = tmp_path / "session" / UPLOADS_DIR / "_ray_pkg_1"
    upload.mkdir(parents=True)
    monkeypatch.chdir(upload)
    monkeypatch.setenv("HOME", "/home/of/cluster")
    assert locate_run(Path("runs/x")) == Path("/home/of/cluster/parley/runs/x")
    assert locate_run(Path("/shared/x")) == Path("/shared/x")
    monkeypatch.setenv("PARLEY_RUNS_ROOT", "/shared")
    assert locate_run(Path("runs/x")) == Path("/shared/runs/x")


def test_the_command_that_goes_on_with_a_stopped_job_is_known_before() -> None:
    request = request_of(
        "cartpole/ppo", "policy=mlp", "--quick", "--run-dir", "my runs/a", "--address", NOWHERE
    )
    assert shlex.split(request.going_on) == [
        *("parley", "submit", "--address", NOWHERE, "cartpole/ppo", "policy=mlp", "--quick"),
        *("--run-dir", "my runs/a", "--auto-resume"),
    ]
    assert vars(parse_arguments(shlex.split(request.going_on)[1:]))["auto_resume"] is True
    sweep = request_of("dialogue/dpo", "--tune", "--gpus", "1")
    assert "--tune dialogue/dpo --run-dir runs/dialogue/dpo/" in sweep.going_on
    assert sweep.going_on.endswith("--auto-resume --gpus 1")


@pytest.mark.parametrize(("command", "tune"), [("train", []), ("tune", ["--tune"])])
def test_a_stopped_job_names_the_job_that_goes_on(
    command: str, tune: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = tmp_path / UPLOADS_DIR / "package"
    upload.mkdir(parents=True)
    monkeypatch.chdir(upload)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_experiment("dialogue/dpo")
    with RunFolder.create(config, locate_run(Path("runs/a"))) as run_folder:
        call = shlex.split(resuming_call(command, "dialogue/dpo", run_folder))
    place = str(tmp_path / "parley" / "runs" / "a")
    assert call == ["parley", "submit", *tune, "dialogue/dpo", "--run-dir", place, "--resume"]


def test_a_stopped_sweep_is_gone_on_with_by_tune(tmp_path: Path) -> None:
    with RunFolder.create(load_experiment("dialogue/dpo"), Path("a sweep")) as run_folder:
        assert "before there was anything to save" in describe_stop(
            "tune", "dialogue/dpo", run_folder
        )
        (run_folder.path / TRIALS_FILE).write_text("[]")
        told = describe_stop("tune", "dialogue/dpo", run_folder)
    assert told.endswith("  parley tune dialogue/dpo --run-dir 'a sweep' --resume")
