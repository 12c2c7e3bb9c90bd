"""A reader that leaves, as `head -1` does, costs no file and ends no work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PARLEY = [sys.executable, "-m", "parley.platform.cli"]


def run_unread(arguments: list[str], folder: Path) -> int:
    """The exit code of a command whose standard output and error nobody reads."""
    with subprocess.Popen(
        [*PARLEY, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        return process.wait()


def test_detect_writes_its_files(tmp_path: Path, classifier_folder: Path) -> None:
    rows = [{"context": "[a]: Hello?", "response": f"number {n}"} for n in range(5_000)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    asked = ["detect", "rows.json", "--detector", str(classifier_folder)]
    written = ["--json", "figures.json", "--rows", "rows.jsonl"]
    assert run_unread([*asked, *written], tmp_path) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["rows"] == len(rows)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == len(rows)


def test_data_prepare_does_its_work(tmp_path: Path) -> None:
    pairs = [
        {
            "prompt": f"Context: [agent_1]: Is {n} a number?\nEvidence: FS1\n\n"
            "Generate a cooperative response:",
            "chosen": f"Yes, {n} is one.",
            "rejected": f"It varies with {n}.",
            "conversation": n,
        }
        for n in range(40)
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    assert run_unread(["data", "prepare", "pairs.json", "--out", "pairs"], tmp_path) == 0
    assert (tmp_path / "pairs" / "summary.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_goes_on_to_its_end(tmp_path: Path) -> None:
    overrides = ["stop.max_env_steps=2048", "evaluation.episodes=2", "env.max_steps=20"]
    command = ["train", "cartpole/ppo", "--quick", "policy=mlp", "--run-dir", "run", *overrides]
    assert run_unread(command, tmp_path) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "done"
    figures = ["evaluate", "run", "--episodes", "2", "--json", "figures.json"]
    assert run_unread(figures, tmp_path) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["episodes"] == 2


def test_an_error_keeps_its_exit_code(tmp_path: Path) -> None:
    assert run_unread(["evaluate", "nowhere"], tmp_path) == 2


def test_what_only_shows_ends_with_its_reader(tmp_path: Path) -> None:
    assert run_unread(["list"], tmp_path) == 0
