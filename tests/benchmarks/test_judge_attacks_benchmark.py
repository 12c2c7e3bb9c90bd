"""The attacks on the judge, end to end: a small judge in loose bounds, the real one in its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.judge_attacks import HUMAN, main, show_table
from parley.platform.maxims.judge.attacks import ATTACKS
from parley.platform.maxims.judge.building import JudgeRecipe
from parley.platform.maxims.judge.ranker_encoders import has_minilm
from parley.platform.maxims.judge.ranker_training import RankerSettings

SMALL = JudgeRecipe(
    encoder="words",
    ranker=RankerSettings(num_epochs=2, num_rankers=1, token_width=16),
    word_width=48,
    num_generated=700,
    num_threads=1,
)
FOUND_BY_ANY_JUDGE = (
    "constant sentence",
    "generic agreement",
    "last turn parroted",
    "keyword template",
    "rude reply",
    "unhelpful reply",
    "first turn of the context",
    "question marks",
    "three words repeated",
    "sentence repeated",
)
"""Attacks that a judge sees without knowing much of the language."""


def run(path: Path, *arguments: str, recipe: JudgeRecipe | None = None) -> dict[str, Any]:
    main([*arguments, "--json", str(path)], recipe)
    rows = json.loads(path.read_text())["rows"]
    return {row["name"]: row for row in rows}


def test_a_small_judge_withstands_simple_attacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("PARLEY_DATA", raising=False)
    labelled = tmp_path / "repairs.json"
    tagged = "[CONTEXT] [agent_1]: I like jazz. [EVIDENCE] FS1 [RESPONSE] It is what it is."
    repair = {"input_text": f"[VIOLATION=MANNER] {tagged}", "target_text": "I like jazz, too."}
    labelled.write_text(json.dumps([repair]))
    rows = run(tmp_path / "rows.json", "--labelled", str(labelled), recipe=SMALL)
    assert set(rows) == {HUMAN, *ATTACKS}
    assert rows[HUMAN]["together"] > 0.8
    for name in FOUND_BY_ANY_JUDGE:
        assert rows[name]["together"] < 0.35, name
    assert rows["another conversation's reply"]["together"] < rows[HUMAN]["together"] - 0.1
    assert rows["word salad, shuffled reply"]["together"] < 0.5
    for row in rows.values():
        low, high = row["interval"]
        assert low <= row["together"] <= high
        assert row["together"] <= row["single"]
    judged = json.loads((tmp_path / "rows.json").read_text())["labelled"][str(labelled)]
    assert [(row["name"], row["num_replies"]) for row in judged] == [(HUMAN, 1), ("manner", 1)]
    printed = capsys.readouterr().out
    assert "generated small talk" in printed and "ms of processor time a row" in printed
    assert all(f"| {name} |" in printed for name in rows)


def test_a_table_of_nothing_has_a_head() -> None:
    assert show_table([]).startswith("| reply | wanted |")


@pytest.mark.slow
@pytest.mark.skipif(
    not (os.environ.get("PARLEY_DATA") and has_minilm()),
    reason="needs real conversations (PARLEY_DATA) and the extra `embeddings`",
)
def test_the_judge_withstands_attack(tmp_path: Path) -> None:
    """The bounds are looser than the limits of the table, which a single run may just miss."""
    rows = run(tmp_path / "rows.json")
    assert rows[HUMAN]["together"] > 0.87
    for name, attack in ATTACKS.items():
        if attack.limit is not None:
            assert rows[name]["together"] < attack.limit + 0.12, name
