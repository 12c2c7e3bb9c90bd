"""`parley detect`: findings, figures, files written, and what it says of bad input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parley.platform.cli import main
from parley.platform.maxims import detection
from parley.platform.maxims.detection import measure_labels
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.text.exchange import MAXIMS, Exchange


class WordDetector(Detector):
    """Finds the maxims whose names stand in the response."""

    thresholds = np.full(4, 0.5)

    def score_rows(self, rows: Sequence[Exchange]) -> NDArray[np.float64]:
        return np.array([[0.1 + 0.8 * (m in row.response) for m in MAXIMS] for row in rows])


@pytest.fixture(autouse=True)
def _word_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "load_detector", lambda name, role, log: WordDetector())


def _row(response: str, *violated: str, **more: Any) -> dict[str, Any]:
    labels = {maxim: int(maxim in violated) for maxim in MAXIMS}
    return {"context": "[a]: Hello?", "response": response, "labels": labels, **more}


def _write(tmp_path: Path, rows: Sequence[Any]) -> str:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return str(path)


def test_few_rows_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _write(tmp_path, [{"prompt": "Hi", "response": "manner and quality"}, _row("fine")])
    assert main(["detect", file]) == 0
    out = capsys.readouterr().out
    assert "row 1  quality 0.90, manner 0.90  manner and quality" in out
    assert "row 2  cooperative" in out


def test_figures_equal_their_definitions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        _row("quantity", "quantity", violation_type="quantity_over"),
        _row("nothing said", "quantity", violation_type="quantity_under"),
        _row("quantity", violation_type="none"),
        *[_row(maxim, maxim) for maxim in MAXIMS[1:] for _ in range(8)],
    ]
    out, written = tmp_path / "figures.json", tmp_path / "rows.jsonl"
    file = _write(tmp_path, rows)
    assert main(["detect", file, "--json", str(out), "--rows", str(written)]) == 0
    metrics = json.loads(out.read_text())
    assert metrics["rows"] == len(rows)
    assert metrics["f1_by_maxim"] == {"quantity": 0.5, "quality": 1, "relation": 1, "manner": 1}
    assert metrics["macro_f1"] == pytest.approx(3.5 / 4)
    low, high = metrics["macro_f1_ci95"]
    assert low <= metrics["macro_f1"] <= high
    assert metrics["flag_rate"] == pytest.approx(26 / 27)
    assert metrics["by_type"]["quantity_under"] == {"rows": 1, "recall": 0.0, "flagged": 0.0}
    assert metrics["by_type"]["none"] == {"rows": 1, "flagged": 1.0}
    assert metrics["by_length"]["1-7 words"]["rows"] == len(rows)
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert len(lines) == len(rows)
    assert lines[0]["violations"] == ["quantity"]
    assert "row 1 " not in capsys.readouterr().out


def test_responses_of_people_are_judged_beside(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    row = {"context": "a", "violated_response": "manner", "original_response": "fine"}
    assert main(["detect", _write(tmp_path, [row]), "--json", str(out)]) == 0
    metrics = json.loads(out.read_text())
    assert (metrics["human_flag_rate"], metrics["human_rows"]) == (0.0, 1)
    assert metrics["labelled_rows"] == 0
    assert "macro_f1" not in metrics


def _talk(number: int, said: str, **more: Any) -> dict[str, Any]:
    context = f"[a]: Hello {number}? [b]: {said} {number}."
    return {"context": context, "response": f"quality {number}", "source_id": f"t{number}", **more}


@pytest.mark.parametrize(
    ("rows", "source"),
    [
        ([_talk(n, "fine", original_response=f"manner {n}") for n in range(9)], "responses of"),
        ([_talk(n, "fine", labels={}) for n in range(9)], "responses of people"),
        ([_talk(n, "manner") for n in range(9)], "turns before the responses"),
    ],
)
def test_a_detector_that_flags_people_says_so_first(
    rows: list[dict[str, Any]],
    source: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "figures.json"
    assert main(["detect", _write(tmp_path, rows), "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("NO VERDICT: the detector flags 100.0%")
    first = printed.splitlines()[0]
    assert source in first and "calibrated to flag 9%" in first
    for remedy in ("parley train dialogue/detector", "--detector RUN", "PARLEY_DATA"):
        assert remedy in first
    metrics = json.loads(out.read_text())
    assert metrics["no_verdict"] in printed
    assert metrics["clean_flag_rate"] == 1.0 and metrics["clean_rows"] == 9
    assert "cooperative" not in printed.partition("\n")[2]


def test_a_detector_that_leaves_people_alone_decides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    rows = [_talk(n, "fine", original_response=f"fine, too {n}") for n in range(9)]
    assert main(["detect", _write(tmp_path, rows), "--json", str(out)]) == 0
    assert "NO VERDICT" not in capsys.readouterr().out
    metrics = json.loads(out.read_text())
    assert metrics["no_verdict"] is None
    assert metrics["clean_flag_rate"] == metrics["human_flag_rate"] == 0.0
    nobody = [{"prompt": f"Hi {n}", "response": "manner"} for n in range(9)]
    assert main(["detect", _write(tmp_path, nobody)]) == 0
    assert capsys.readouterr().out.startswith("No response of people")


def test_bad_rows_are_counted_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    file = _write(tmp_path, [_row("fine"), 7, {"context": "a"}])
    assert main(["detect", file, "--json", str(out)]) == 0
    error = capsys.readouterr().err
    assert "2 rows cannot be judged" in error
    assert "row 2: not an object" in error
    assert json.loads(out.read_text())["dropped_rows"] == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[]", "no row can be judged"),
        (b'[{"context": "a"}]', "no response"),
        (b'[{"context": "a", "respon', "cut short"),
        (b"\xff\xfe", "UTF-8"),
        (b"", "is empty"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, complaint: str
) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    assert main(["detect", str(path)]) == 2
    error = capsys.readouterr().err
    assert "rows.json" in error
    assert complaint in error


def test_missing_files_and_folders_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", str(tmp_path / "none.json")]) == 2
    assert "there is no such file" in capsys.readouterr().err
    file = _write(tmp_path, [_row("fine")])
    assert main(["detect", file, "--json", str(tmp_path / "absent" / "out.json")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_intervals_draw_whole_conversations() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(rng.random((30, 4)) < 0.5, 10, axis=0)
    found = labels ^ np.repeat(rng.random((30, 4)) < 0.2, 10, axis=0)
    by_row = measure_labels(found, labels, np.arange(300))["macro_f1_ci95"]
    by_talk = measure_labels(found, labels, np.repeat(np.arange(30), 10))["macro_f1_ci95"]
    assert by_talk[1] - by_talk[0] > 2 * (by_row[1] - by_row[0])
