"""Reading responses to judge: every format, and every row that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parley.platform.maxims.pairs.labelled import NoRowsError, read_labelled
from parley.platform.maxims.pairs.reading import DataFileError

LABELS = {"quantity": 0, "quality": 1, "relation": 0, "manner": 0}


def _read(tmp_path: Path, *rows: Any) -> Any:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return read_labelled(path)


@pytest.mark.parametrize(
    ("row", "context", "response", "labels", "kind", "human"),
    [
        (
            {"input_text": "[CONTEXT] a  b [EVIDENCE] FS1 [RESPONSE] c", "labels": LABELS,
             "violation_type": "quality_x"},
            "a b", "c", (False, True, False, False), "quality_x", "",
        ),
        (
            {"context": "a", "evidence": ["FS1", "FS2"], "violated_response": "c",
             "original_response": "d", "labels": LABELS},
            "a", "c", (False, True, False, False), "quality", "d",
        ),
        ({"context": "a", "response": "c"}, "a", "c", None, "", ""),
        ({"prompt": "Hello?", "response": "c"}, "Hello?", "c", None, "", ""),
        (
            {"prompt": "Context: a\nEvidence: e\n\nGenerate a cooperative response:",
             "chosen": "d", "rejected": "c"},
            "a", "c", None, "", "d",
        ),
        (
            {"input_text": "[REPAIR] [VIOLATION=MANNER] [CONTEXT] a [EVIDENCE] e [RESPONSE] c",
             "target_text": "d"},
            "a", "c", (False, False, False, True), "manner", "d",
        ),
        (
            {"context": "", "response": "c", "labels": dict.fromkeys(LABELS, 0)},
            "", "c", (False,) * 4, "none", "",
        ),
    ],
)  # fmt: skip
def test_every_format_is_read(
    tmp_path: Path, row: Any, context: str, response: str, labels: Any, kind: str, human: str
) -> None:
    (read,) = _read(tmp_path, row).rows
    assert (read.exchange.context, read.exchange.response) == (context, response)
    assert (read.labels, read.violation_type, read.human) == (labels, kind, human)


def test_lines_are_read_as_lists_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"context": "a", "response": "b"}\n\n{"context": "c", "response": "d"}\n')
    assert [row.place for row in read_labelled(path).rows] == ["line 1", "line 3"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (5, "not an object"),
        ({"context": "a"}, "no response"),
        ({"context": "a", "response": "  "}, "empty response"),
        ({"context": "a", "response": 3}, "response is not text"),
        ({"response": "b"}, "neither context nor prompt"),
        ({"context": "a", "response": "b", "labels": {"kindness": 1}}, "unknown maxim kindness"),
        ({"context": "a", "response": "b", "labels": {"manner": 2}}, "labels are not 0 or 1"),
        ({"context": "a", "response": "b", "labels": [1]}, "labels are not an object"),
        ({"input_text": "[CONTEXT] a [RESPONSE] b"}, "no .EVIDENCE. tag"),
        ({"context": "a", "response": "b", "evidence": 7}, "evidence is not text"),
        (
            {"input_text": "[VIOLATION=TASTE] [CONTEXT] a [EVIDENCE] e [RESPONSE] b"},
            "unknown maxim taste",
        ),
    ],
)
def test_a_bad_row_is_counted_with_its_reason(tmp_path: Path, row: Any, reason: str) -> None:
    read = _read(tmp_path, {"context": "a", "response": "b"}, row)
    assert len(read.rows) == 1
    (problem,) = read.problems
    assert problem.place == "row 2"
    with pytest.raises(NoRowsError, match=reason):
        _read(tmp_path, row)


def test_broken_files_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"context": "a", "resp')
    with pytest.raises(DataFileError, match="cut short"):
        read_labelled(path)
    path.write_bytes(b'[{"context": "\xff"}]')
    with pytest.raises(DataFileError, match="UTF-8"):
        read_labelled(path)
