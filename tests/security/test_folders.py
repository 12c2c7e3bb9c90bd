"""What names a file or folder cannot reach out of the one that it belongs to."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parley.envs.cartpole.episode_files import METADATA_KEY, read_columns
from parley.platform.cli import main
from parley.platform.engine.sweeps.record import read_records
from parley.platform.errors import InputError
from parley.platform.runs.checkpoints import (
    CheckpointError,
    CheckpointStore,
    open_checkpoint,
    resolve_checkpoint,
)
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import load_experiment

OUTSIDE = ["../outside.json", "policies/../../../outside.json", "/etc/hostname", "..", ""]


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """Two sound checkpoints, the first the best, and a file outside."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    store = CheckpointStore(folder)

    def save(policies: Path) -> None:
        (policies / "carts").mkdir()
        (policies / "carts" / "config.json").write_text("{}")

    store.save(1, save, {}, {}, best_score=1.0)
    store.save(2, save, {}, {})
    (folder / "outside.json").write_text("{}")
    return store


def change_manifest(checkpoint: Path, change: Callable[[dict[str, object]], None]) -> None:
    path = checkpoint / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["files"])
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_names_no_file_outside(store: CheckpointStore, name: str) -> None:
    newest = store.folder / "iteration_000002"
    change_manifest(newest, lambda files: files.update({name: {"size_bytes": 2, "sha256": ""}}))
    with pytest.raises(CheckpointError, match=r"manifest\.json names .* is outside"):
        open_checkpoint(newest)
    found = store.find("last")
    assert found is not None and found.path.name == "iteration_000001"


def test_a_link_out_of_a_checkpoint_is_not_followed(store: CheckpointStore) -> None:
    """Neither for a file nor for a policy's folder, though the content is the recorded one."""
    newest, best = store.folder / "iteration_000002", store.folder / "iteration_000001"
    file = newest / "policies" / "carts" / "config.json"
    file.unlink()
    file.symlink_to(best / "policies" / "carts" / "config.json")
    with pytest.raises(CheckpointError, match="is outside"):
        open_checkpoint(newest)
    file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(best / "policies" / "carts")
    with pytest.raises(CheckpointError, match="is outside"):
        open_checkpoint(newest)


def test_a_policy_that_the_manifest_does_not_name_is_none(store: CheckpointStore) -> None:
    newest = store.folder / "iteration_000002"
    (newest / "policies" / "another").mkdir()
    (newest / "policies" / "another" / "config.json").write_text("{}")
    assert list(open_checkpoint(newest).policy_folders) == ["carts"]


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp", "..", "."])
def test_the_best_checkpoint_is_one_of_the_run(store: CheckpointStore, name: str) -> None:
    pointer = {"checkpoint": name, "iteration": 1, "mean_return": 1.0}
    (store.folder / "best.json").write_text(json.dumps(pointer))
    with pytest.raises(CheckpointError, match=r"best\.json is damaged .* is not a name"):
        resolve_checkpoint(store.folder.parent)


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp/trial", "..", None])
def test_a_sweep_goes_on_with_its_own_trials_only(tmp_path: Path, name: object) -> None:
    entry = {"trial": name, "config": {}, "status": "pending", "final": False, "retries": 0}
    (tmp_path / "trials.json").write_text(json.dumps([entry | {"error": None}]))
    with pytest.raises(InputError, match="not the trials of a sweep"):
        read_records(tmp_path, tmp_path / "trials", keep=1)


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/runs", "a/../../b", "a//b", ".hidden", ""])
def test_runs_are_filed_below_their_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "cartpole/ppo", f"experiment={name}"]) == 2
    assert "experiment" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError):
        load_experiment("cartpole/ppo", [f"experiment={name}"])


def test_an_experiment_is_no_path_into_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("../pyproject", "cartpole/../cartpole/ppo", "/etc/hostname"):
        assert main(["train", name]) == 2
        assert "unknown experiment" in capsys.readouterr().err


def test_members_of_an_archive_are_read_and_not_written(tmp_path: Path) -> None:
    """An archive of episodes, one of whose members would lie outside if it were unpacked."""
    inner = tmp_path / "inner"
    inner.mkdir()
    path = inner / "episodes.npz"
    header = np.array(json.dumps({"format": 1}))
    arrays = {
        "tokens": np.arange(3),
        "offsets": np.array([0, 3]),
        "returns": np.array([3.0]),
        "terminated": np.array([True]),
        METADATA_KEY: header,
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with zipfile.ZipFile(path, "a") as archive:
        content = archive.read("tokens.npy")
        for name in ("../outside.npy", "/tmp/outside.npy", "../../outside.npy"):
            archive.writestr(name, content)
    columns, _ = read_columns(path)
    assert columns["tokens"].tolist() == [0, 1, 2]
    assert "../outside" not in columns
    assert sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*")) == [
        "inner",
        "inner/episodes.npz",
    ]


def test_columns_of_a_table_are_read_and_not_written(tmp_path: Path) -> None:
    table = pa.table(
        {"tokens": [[1]], "returns": [1.0], "terminated": [True], "../outside": ["x"]}
    ).replace_schema_metadata({METADATA_KEY: json.dumps({"format": 1})})
    pq.write_table(table, tmp_path / "episodes.parquet")
    columns, _ = read_columns(tmp_path / "episodes.parquet")
    assert sorted(columns) == ["offsets", "returns", "terminated", "tokens"]
    assert [file.name for file in tmp_path.iterdir()] == ["episodes.parquet"]
