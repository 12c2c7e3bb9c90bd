"""`parley train dialogue/detector` end to end: the run folder, and what can be done with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parley.platform.cli import main
from parley.platform.maxims.detector.feature_detector import FeatureDetector
from parley.platform.maxims.loading import load_detector

SMALL = (
    "data.num_dialogues=60", "data.clean_turns=40", "data.injections=10", "model.folds=3",
    "model.num_trees=5", "evaluation.unseen_injections=5", "evaluation.clean_turns=20",
)  # fmt: skip


def test_a_run_can_be_measured_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", "dialogue/detector", *SMALL, "--run-dir", str(run)]) == 0
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "done"
    for name in ("macro_f1", "f1_by_maxim", "flag_rate", "rows", "macro_f1_ci95"):
        assert name in result["metrics"]
    assert set(result["tables"]) >= {"by_type", "by_length"}
    assert isinstance(load_detector(str(run), "detector", print), FeatureDetector)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"context": "[a]: Which season do you like?", "response": "It depends."}\n')
    capsys.readouterr()
    assert main(["detect", str(rows), "--detector", str(run)]) == 0
    assert "1 rows" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--data", str(rows)]) == 0
    assert "flag_rate" in capsys.readouterr().out
    assert main(["evaluate", str(run)]) == 2
    assert "--data FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("data.labelled=absent.json", "there is no such file"),
        ("data.conversations=absent", "no such file or folder"),
        ("model.folds=2", "model.folds"),
        ("data.num_dialogues=25", "leaves fewer than 10 dialogues"),
    ],
)
def test_wrong_settings_start_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, complaint: str
) -> None:
    run = tmp_path / "run"
    assert main(["train", "dialogue/detector", override, "--run-dir", str(run)]) == 2
    assert complaint in capsys.readouterr().err
    assert not run.exists()
