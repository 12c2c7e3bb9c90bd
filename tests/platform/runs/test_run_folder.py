"""The run folder: never reused by accident, never torn, never written by two."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.runs.files import atomic_write_text, to_json
from parley.platform.runs.run_folder import RunFolder, RunFolderError, latest_run
from parley.platform.settings.loading import load_experiment

CONFIG = CartPolePPOConfig(seed=5)
RESULT = {"status": "done", "seconds": 1.5, "metrics": {"mean_return": 500.0}, "checkpoint": None}


def test_a_new_run_is_filed_by_experiment_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with RunFolder.create(CONFIG) as first, RunFolder.create(CONFIG) as second:
        assert first.path.parent == second.path.parent == Path("runs/cartpole/ppo")
        assert first.path != second.path
        assert load_experiment(first.path / "config.toml") == CONFIG
        assert first.checkpoints.is_dir()
        assert latest_run("cartpole/ppo") == second.path
    with pytest.raises(RunFolderError, match="no run of cartpole/imitate"):
        latest_run("cartpole/imitate")


def test_an_empty_folder_is_used_and_a_used_one_refused(tmp_path: Path) -> None:
    run_dir = tmp_path / "mine"
    run_dir.mkdir()
    RunFolder.create(CONFIG, run_dir).close()
    with pytest.raises(RunFolderError, match=r"holds .*config\.toml.*--resume"):
        RunFolder.create(CONFIG, run_dir)


def test_a_foreign_folder_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunFolderError, match=r"thesis\.tex"):
        RunFolder.create(CONFIG, tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_unusable_paths_say_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunFolderError, match="a file is in the way"):
            RunFolder.create(CONFIG, path)
    with pytest.raises(RunFolderError, match="no run folder"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(RunFolderError, match=r"not a run folder: it has no config\.toml"):
        RunFolder.open(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunFolderError, match="no permission to write"):
        RunFolder.create(CONFIG, tmp_path / "run")


def test_two_writers_are_refused_and_readers_are_not(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with RunFolder.create(CONFIG, run_dir):
        with pytest.raises(RunFolderError, match=f"written by process {os.getpid()}"):
            RunFolder.resume(run_dir)
        assert RunFolder.open(run_dir).config == CONFIG
    RunFolder.resume(run_dir).close()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    program = (
        "import os, sys; from pathlib import Path; "
        "from parley.platform.control.settings import CartPolePPOConfig as C; "
        "from parley.platform.runs.run_folder import RunFolder; "
        "folder = RunFolder.create(C(), Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run_dir)], check=False)
    assert done.returncode == -9
    RunFolder.resume(run_dir).close()


def test_metrics_survive_nan_and_numpy_and_a_torn_last_line(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with RunFolder.create(CONFIG, run_dir) as run:
        run.append_metrics({"iteration": 1, "return": math.nan, "steps": np.int64(7)})
        run.append_metrics({"iteration": 2, "return": np.float32(0.5), "ci95": (1, 2)})
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 3, "ret')
    rows = [
        {"iteration": 1, "return": None, "steps": 7},
        {"iteration": 2, "return": 0.5, "ci95": [1, 2]},
    ]
    assert RunFolder.open(run_dir).read_metrics() == rows
    with RunFolder.resume(run_dir) as run:
        run.append_metrics({"iteration": 3})
        assert run.read_metrics() == [*rows, {"iteration": 3}]
        run.drop_metrics_after(1)
        assert run.read_metrics() == rows[:1]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        (run.path / "metrics.jsonl").write_text('{"iteration": 1}\noops\n{"iteration": 3}\n')
        with pytest.raises(RunFolderError, match=r"metrics\.jsonl:2: not a JSON object"):
            run.read_metrics()


def test_a_row_needs_an_iteration(tmp_path: Path) -> None:
    with (
        RunFolder.create(CONFIG, tmp_path / "run") as run,
        pytest.raises(ValueError, match="iteration"),
    ):
        run.append_metrics({"return": 1.0})


def test_the_result_has_all_of_the_contract(tmp_path: Path) -> None:
    with RunFolder.create(CONFIG, tmp_path / "run") as run:
        assert run.read_result() is None
        run.write_result(RESULT)
        result = json.loads((run.path / "result.json").read_text())
        assert result == run.read_result()
        assert RESULT.items() <= result.items()
        assert result["experiment"] == "cartpole/ppo"
        assert {"python", "ray", "torch", "transformers"} <= result["versions"].keys()
        with pytest.raises(ValueError, match="status among done"):
            run.write_result({**RESULT, "status": "fine"})
        with pytest.raises(ValueError, match="checkpoint"):
            run.write_result({"status": "done", "seconds": 1.0, "metrics": {}})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    atomic_write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        atomic_write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_resuming_with_longer_settings_writes_them(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    RunFolder.create(CONFIG, run_dir).close()
    longer = CONFIG.model_copy(update={"stop": CONFIG.stop.model_copy(update={"max_env_steps": 9})})
    RunFolder.resume(run_dir, longer).close()
    assert RunFolder.open(run_dir).config == longer


def test_json_refuses_what_it_cannot_say() -> None:
    assert to_json({"a": [math.inf, np.arange(2), Path("x"), True]}) == (
        '{"a": [null, [0, 1], "x", true]}'
    )
    with pytest.raises(TypeError, match="object"):
        to_json({"a": object()})
