"""Causal architectures of transformers: each works as it says, or is refused at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from benchmarks.architectures import (
    BROKEN,
    MARKS,
    REFUSED,
    UNBUILT,
    WORKS,
    Finding,
    examine,
    examine_apart,
    format_table,
    main,
)

PAGE = Path(__file__).parents[2] / "docs" / "tasks" / "models.md"
PATIENCE_S = 240.0
QUICK = {
    "gpt_neo": (WORKS, "reread", "apart"),
    "llama": (WORKS, "cache", "shared"),
    "gemma2": (WORKS, "reread", "apart"),
    "granite": (WORKS, "cache", "shared"),
    "bloom": (WORKS, "reread", "apart"),
    "roberta": (WORKS, "reread", "apart"),
    "cpmant": (REFUSED, "", ""),
}


@pytest.mark.parametrize("model_type", QUICK)
def test_common_architectures_do_what_the_page_says(model_type: str) -> None:
    finding = examine(model_type)
    assert (finding.status, finding.memory, finding.prompts) == QUICK[model_type], finding.why


def test_the_page_names_every_architecture_and_none_is_broken() -> None:
    page = PAGE.read_text()
    table = page[page.index(MARKS[0]) : page.index(MARKS[1])]
    works, _, others = table.partition("| model type | |")
    named = re.findall(r"`([\w.-]+)`", works) + re.findall(r"^\| `([\w.-]+)`", others, re.M)
    assert sorted(named) == sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    told = set(re.findall(r"^\| `[\w.-]+` \| ([\w ]+) \|", others, re.M))
    assert told <= {REFUSED, UNBUILT}


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() - QUICK))
def test_no_architecture_is_wrong_in_silence(model_type: str) -> None:
    (finding,) = examine_apart([model_type], PATIENCE_S)
    assert finding.status != BROKEN, finding.why


def test_one_that_takes_too_long_or_dies_is_told_from_the_others() -> None:
    def take_part(name: str) -> Finding:
        if name == "slow":
            import time

            time.sleep(60.0)
        if name == "dead":
            raise SystemExit(3)
        return Finding(name, WORKS)

    found = list(examine_apart(["good", "slow", "dead", "fine"], 3.0, take_part))
    assert [f.status for f in found] == [WORKS, BROKEN, BROKEN, WORKS]
    assert "not done after 3 s" in found[1].why and "died" in found[2].why


def test_the_table_goes_between_the_marks_of_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    assert main(["nothing_of_this_name", "--docs", str(page)]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{MARKS[0]}\n| memory") and text.endswith("after\n")
    assert "old" not in text and "| `nothing_of_this_name` | not built |" in text
    works = format_table([Finding("a", WORKS, error=9.5e-7), Finding("b", WORKS, error=1e-7)])
    assert "| 1e-06 | `a`, `b` |" in works
    assert capsys.readouterr().out.startswith("| memory")
