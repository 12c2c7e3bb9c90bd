"""Run folders that an earlier version wrote open, evaluate, go on, report, and show and speak."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from parley.platform.cli import main
from parley.platform.runs.run_folder import RunFolder
from tests.compatibility.kept_runs import KEPT, KeptRun, unpack, unpack_with_inputs

QUICK = {"imitate", "imitate-stopped", "pretrain", "pretrain-stopped"}
"""What is also tried by the quick tests."""
SHOWN = ("cartpole", "imitate", "markov", "trace_ppo", "pretrain", "distort")
HEARD = ("pretrain", "distort", "dpo-stopped")
FEW = {"cartpole": ("--episodes", "4")}
OF_A_FILE = {"detector"}
"""Evaluated on a file only."""


def marked(runs: tuple[KeptRun, ...]) -> list[Any]:
    """As parameters, slow but for the quick ones."""
    return [
        pytest.param(kept, id=kept.name, marks=[] if kept.name in QUICK else [pytest.mark.slow])
        for kept in runs
    ]


def find(name: str) -> KeptRun:
    """The kept run of this name."""
    return next(kept for kept in KEPT if kept.name == name)


def evaluate(kept: KeptRun, folder: Path, *arguments: str) -> dict[str, Any]:
    """What `parley evaluate` measures; a run needs its models for that, not what it began with."""
    run, moved = unpack_with_inputs(kept, folder)
    needed = [place for place in moved if not place.startswith("init_from=")]
    out = folder / "figures.json"
    assert main(["evaluate", str(run), *needed, *arguments, "--json", str(out)]) == 0
    figures: dict[str, Any] = json.loads(out.read_text())
    return figures


def read_rows(run: Path) -> list[dict[str, Any]]:
    """Its rows of metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def read_result(run: Path) -> dict[str, Any]:
    """What it ended with."""
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    return result


@pytest.mark.parametrize("kept", KEPT, ids=[kept.name for kept in KEPT])
def test_settings_and_figures_are_read(kept: KeptRun, tmp_path: Path) -> None:
    run = unpack(kept.name, tmp_path)
    with RunFolder.open(run) as folder:
        assert folder.config.experiment == kept.experiment
        assert len(folder.read_metrics()) == len(read_rows(run)) > 0
    stopped = kept.name.endswith("-stopped")
    assert read_result(run)["status"] == ("stopped" if stopped else "done")


@pytest.mark.parametrize(
    "kept", marked(tuple(run for run in KEPT if run.name not in OF_A_FILE | {"sweep-stopped"}))
)
def test_it_is_evaluated(kept: KeptRun, tmp_path: Path) -> None:
    """A sweep that was stopped has no checkpoint of its own yet."""
    figures = evaluate(kept, tmp_path, *FEW.get(kept.experiment.partition("/")[0], ()))
    assert any(isinstance(value, float) and math.isfinite(value) for value in figures.values())


@pytest.mark.parametrize("kept", marked(tuple(run for run in KEPT if run.figure)))
def test_its_measure_is_what_it_was(kept: KeptRun, tmp_path: Path) -> None:
    before = read_result(unpack(kept.name, tmp_path))["metrics"][kept.figure]
    assert evaluate(kept, tmp_path)[kept.figure] == pytest.approx(before, rel=1e-3)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kept", marked(tuple(run for run in KEPT if run.goes_on)))
def test_it_goes_on(kept: KeptRun, tmp_path: Path) -> None:
    run, moved = unpack_with_inputs(kept, tmp_path)
    before = read_rows(run)
    call = [kept.command, kept.experiment, "--run-dir", str(run), "--resume"]
    assert main([*call, *kept.more, *moved]) == 0
    rows = read_rows(run)
    assert len(rows) > len(before) and rows[: len(before)] == before
    assert [row["iteration"] for row in rows] == sorted({row["iteration"] for row in rows})
    assert read_result(run)["status"] == "done"


@pytest.mark.parametrize("kept", marked(KEPT))
def test_it_is_reported(kept: KeptRun, tmp_path: Path) -> None:
    run = unpack(kept.name, tmp_path)
    assert main(["report", str(run)]) == 0
    assert kept.experiment in (run / "report.html").read_text()


@pytest.mark.parametrize("kept", marked(tuple(find(name) for name in SHOWN)))
def test_it_is_watched(kept: KeptRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = unpack(kept.name, tmp_path)
    out = ["--out", str(tmp_path / "episode.gif")] if "cartpole" in kept.experiment else []
    assert main(["watch", str(run), *out]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("kept", marked(tuple(find(name) for name in HEARD)))
def test_it_is_talked_to(
    kept: KeptRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, moved = unpack_with_inputs(kept, tmp_path)
    if kept.experiment == "dialogue/dpo":  # it holds its models itself
        moved = []
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\nhow are you?\n"))
    assert main(["chat", str(run), *moved]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.slow
def test_the_detector_detects(tmp_path: Path) -> None:
    run, out = unpack("detector", tmp_path), tmp_path / "rows.jsonl"
    exchange = {"context": "Do you like tea?", "response": "Yes, green tea above all."}
    (tmp_path / "data.json").write_text(json.dumps([exchange]))
    call = ["detect", str(tmp_path / "data.json"), "--detector", str(run), "--rows", str(out)]
    assert main(call) == 0
    assert len(out.read_text().splitlines()) == 1
