"""The disk is full: the run says so, its last good checkpoint stands, and it goes on with space."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parley.platform.cli import main
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.files import atomic_write_text
from parley.platform.runs.full_disk import DiskFullError
from parley.platform.runs.run_folder import RunFolder, RunFolderError
from parley.platform.runs.transcripts import append_transcripts
from parley.platform.settings.loading import load_experiment
from tests.faults.aftermath import assert_metrics_continue, assert_nothing_leaked, read_rows
from tests.faults.fault_runs import CARTS, LOSSES

SIZE = "1500k"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of `SIZE`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    call = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(call, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return ballast


def test_files_stay_as_they_were_and_the_error_names_file_and_disk(disk: Path) -> None:
    config = load_experiment("cartpole/ppo")
    with RunFolder.create(config, disk / "run") as folder:
        folder.append_metrics({"iteration": 1, "loss": 0.5})
        result = {"status": "done", "seconds": 1.0, "metrics": {}, "checkpoint": None}
        folder.write_result(result)
        before = (folder.path / "result.json").read_bytes()
        ballast = fill(disk)
        size = (folder.path / "metrics.jsonl").stat().st_size
        long_row = {"iteration": 2, "text": "x" * 10_000}
        with pytest.raises(DiskFullError, match=rf"metrics\.jsonl on the disk at {disk}: 0 bytes"):
            folder.append_metrics(long_row)
        assert (folder.path / "metrics.jsonl").stat().st_size == size
        with pytest.raises(DiskFullError, match=r"result\.json .* of 1 MiB free"):
            folder.write_result({**result, "seconds": 2.0})
        assert (folder.path / "result.json").read_bytes() == before
        with pytest.raises(RunFolderError, match="the disk is full"):
            RunFolder.create(config, disk / "other")
        with pytest.raises(DiskFullError, match=r"a\.json"):
            atomic_write_text(disk / "a.json", "x" * 10_000)
        assert not list(disk.glob(".*")) and not list(folder.path.glob(".*.tmp"))
        ballast.unlink()
        folder.append_metrics(long_row)
        assert [row["iteration"] for row in folder.read_metrics()] == [1, 2]
        append_transcripts(folder.path / "transcripts.jsonl", [])


def test_a_checkpoint_without_space_gives_back_what_it_took(disk: Path) -> None:
    def save(iteration: int, size: int) -> None:
        def save_policies(folder: Path) -> None:
            (folder / "policy").mkdir()
            (folder / "policy" / "weights.bin").write_bytes(bytes(100_000))

        store.save(iteration, save_policies, {}, {"moments": np.zeros(size, np.uint8)})

    (disk / "checkpoints").mkdir()
    store = CheckpointStore(disk / "checkpoints")
    save(1, 100_000)
    free = shutil.disk_usage(disk).free
    with pytest.raises(DiskFullError, match=r"iteration_000002 on the disk at .* free"):
        save(2, 2_000_000)  # safetensors writes it, not Python
    assert shutil.disk_usage(disk).free == free
    assert [path.name for path in (disk / "checkpoints").glob(".*")] == []
    last = store.find("last")
    assert last is not None and last.path.name == "iteration_000001"
    save(2, 100_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_a_full_disk_ends_by_name_and_goes_on_when_there_is_space(
    disk: Path, local_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checkpoints fill the disk; the newest that was written is whole."""
    run = disk / "run"
    keep = ["checkpoint.interval_iterations=1", "checkpoint.keep=1000"]
    endless = [
        *CARTS,
        *keep,
        "stop.max_env_steps=1000000",
        "evaluation.interval_env_steps=0",
    ]
    assert main(["train", "cartpole/ppo", "--run-dir", str(run), *endless]) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    paragraph = told[told.rindex("parley train:") :]
    for part in ("no space left for", f"disk at {disk}", "last good checkpoint", "--resume"):
        assert part in paragraph, paragraph
    assert_nothing_leaked()
    checkpoint = CheckpointStore(run / "checkpoints").find("last")
    assert checkpoint is not None and checkpoint.path.name in paragraph
    assert not list((run / "checkpoints").glob(".*"))
    iteration = int(checkpoint.path.name[-6:])
    assert iteration >= len(read_rows(run)) - 1
    if (run / "result.json").exists():
        result = json.loads((run / "result.json").read_text())
        assert result["status"] == "failed" and "DiskFullError" in result["error"]
    else:
        assert "the result was not written" in told
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    more = [f"stop.max_env_steps={64 * (iteration + 4)}", "checkpoint.keep=2"]
    resume = ["train", "cartpole/ppo", "--run-dir", str(run), "--resume"]
    assert main([*resume, *more]) == 0
    assert_metrics_continue(read_rows(run), 1, LOSSES)
    assert len(read_rows(run)) == iteration + 4
    assert os.listdir(run / "checkpoints")
