"""Tagged texts, files of rows, rows of both formats, and evidence from reading sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.platform.maxims.pairs.reading import DataFileError, SourceRow, read_rows
from parley.platform.maxims.pairs.reading_sets import (
    load_reading_sets,
    resolve_evidence,
    responder,
)
from parley.platform.maxims.pairs.rows import RowError, parse_row, read_prompt
from parley.platform.maxims.pairs.tagged import TaggedTextError, parse_tagged
from parley.platform.maxims.text.exchange import make_prompt

PLAIN = st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), max_size=40)
REPAIR = "[REPAIR] [VIOLATION=QUALITY] [CONTEXT] [agent_1]: Hi! [EVIDENCE] FS1 [RESPONSE] No."
OTHER_PROMPT = "Context: {}\nEvidence: {}\n\nGenerate a cooperative response:"


def row_of(value: object) -> SourceRow:
    return SourceRow(Path("rows.json"), "row", 1, value)


@given(PLAIN, PLAIN, PLAIN, st.booleans())
def test_what_is_written_between_tags_is_read(
    context: str, evidence: str, response: str, upper: bool
) -> None:
    tags = ["[Repair]", "[violation=Manner]", "[Context]", "[Evidence]", "[Response]"]
    repair, violation, first, second, third = (t.upper() if upper else t for t in tags)
    text = f"{repair} {violation} {first} {context} {second} {evidence} {third} {response}"
    parsed = parse_tagged(text)
    assert parsed.violations == ("manner",)
    stripped = (context.strip(), evidence.strip(), response.strip())
    assert (parsed.context, parsed.evidence, parsed.response) == stripped
    assert parsed.warnings == ()


@given(st.lists(st.sampled_from(["[CONTEXT]", "[EVIDENCE]", "[RESPONSE]", "[REPAIR]", "a"])))
def test_any_order_of_tags_is_read_or_refused(parts: list[str]) -> None:
    text = " ".join(parts)
    try:
        parsed = parse_tagged(text)
    except TaggedTextError as error:
        assert "[" in str(error)
        return
    places = [text.index("[CONTEXT]")]
    places.append(text.index("[EVIDENCE]", places[0]))
    places.append(text.index("[RESPONSE]", places[1]))
    assert parsed.response == text[places[2] + len("[RESPONSE]") :].strip()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[EVIDENCE] e [RESPONSE] r", "no [CONTEXT] tag"),
        ("[CONTEXT] c [RESPONSE] r", "no [EVIDENCE] tag"),
        ("[CONTEXT] c [EVIDENCE] e", "no [RESPONSE] tag"),
        ("[EVIDENCE] e [CONTEXT] c [RESPONSE] r", "[EVIDENCE] before [CONTEXT]"),
        ("[CONTEXT] c [RESPONSE] r [EVIDENCE] e", "[RESPONSE] before [EVIDENCE]"),
        ("", "no [CONTEXT] tag"),
    ],
)
def test_absent_and_misplaced_tags_are_named(text: str, reason: str) -> None:
    with pytest.raises(TaggedTextError) as caught:
        parse_tagged(text)
    assert str(caught.value) == reason


def test_tags_inside_the_response_stay_with_a_warning() -> None:
    parsed = parse_tagged(
        "[VIOLATION=QUANTITY] [VIOLATION=MANNER] [CONTEXT] c [EVIDENCE] e [RESPONSE] a [CONTEXT] "
        "b [VIOLATION=RELATION]"
    )
    assert parsed.violations == ("quantity", "manner")
    assert parsed.response == "a [CONTEXT] b [VIOLATION=RELATION]"
    assert parsed.warnings == ("tag [CONTEXT] inside the text",)


def test_what_is_odd_before_the_context_is_a_warning() -> None:
    text = "[RESPONSE] x [VIOLATION=MANNER] [VIOLATION=manner] [CONTEXT] c [EVIDENCE] [RESPONSE] r"
    parsed = parse_tagged(text)
    assert parsed.violations == ("manner",)
    assert set(parsed.warnings) == {
        "tag [RESPONSE] before [CONTEXT]",
        "violation named twice",
        "text before [CONTEXT]",
    }


@pytest.mark.parametrize("as_lines", [True, False])
def test_json_and_jsonl_give_the_same_values(tmp_path: Path, as_lines: bool) -> None:
    values = [{"a": "x\u2028y"}, 3, None, [1]]
    text = "\n".join(map(json.dumps, values)) if as_lines else json.dumps(values)
    path = tmp_path / "any.name"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\n\n")
    if as_lines:  # JSON strings may hold characters that other programs take for ends of lines
        path.write_text(text.replace("\\u2028", "\u2028"), "utf-8")
    rows = read_rows(path)
    assert [row.value for row in rows] == values
    assert [row.number for row in rows] == [1, 2, 3, 4]
    assert rows[1].place.endswith("line 2" if as_lines else "row 2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1},\n{"b": "\xff"}]', "line 2: byte 19 of the file (0xff) is not UTF-8"),
        (b'[{"a": 1},\n{"b": ', "line 2, column 7: the JSON ends in the middle"),
        (b'[{"a": "begun', "line 1, column 8: the JSON ends in the middle"),
        (b'{"a": 1}\n{"b": 2', "line 2, column 8: the JSON ends in the middle"),
        (b'{"a": 1}\n{"b" 2}\n', "line 2, column 6: not JSON"),
        (b'{\n "a": 1\n}', "an object over several lines"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_broken_files_are_errors_that_say_where(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(DataFileError) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_absent_files_and_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no such file"):
        read_rows(tmp_path / "absent.json")
    with pytest.raises(DataFileError, match="is a folder"):
        read_rows(tmp_path)


def test_a_repair_becomes_a_pair() -> None:
    value = {
        "input_text": REPAIR.replace("QUALITY]", "MANNER] [VIOLATION=QUANTITY]"),
        "target_text": " Yes,  of\ncourse. ",
        "maxim": "multiple",
        "source_id": "t_1",
    }
    row = parse_row(row_of(value))
    assert (row.kind, row.conversation, row.maxim) == ("repair", "t_1", "quantity+manner")
    assert row.content == ("[agent_1]: Hi!", "FS1", "Yes, of course.", "No.")
    assert row.warnings == ()
    odd = parse_row(row_of({**value, "maxim": "quality"}))
    assert odd.warnings == ("maxim differs from the tag (the tag counts)",)


@pytest.mark.parametrize("prompt", [OTHER_PROMPT.format("c  c", "FS1"), make_prompt("c c", "FS1")])
def test_prompts_of_both_wordings_are_read(prompt: str) -> None:
    assert read_prompt(prompt) == ("c c", "FS1")
    value = {"prompt": prompt, "chosen": "a", "rejected": "b"}
    row = parse_row(row_of(value))
    assert (row.maxim, row.conversation) == ("unknown", None)
    labelled = parse_row(row_of({**value, "maxim": "Manner+quantity", "conversation": 7}))
    assert (labelled.maxim, labelled.conversation) == ("quantity+manner", "7")


GOOD = {"prompt": make_prompt("c", "e"), "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("text", "not an object"),
        ({"prompt": "x"}, "neither a repair"),
        ({**GOOD, "chosen": 3}, "chosen is not text"),
        ({**GOOD, "rejected": None}, "rejected is not text"),
        ({**GOOD, "prompt": "Say something:"}, "prompt not of the form"),
        ({**GOOD, "prompt": make_prompt(" ", "e")}, "empty context"),
        ({**GOOD, "chosen": " \n"}, "empty chosen response"),
        ({**GOOD, "rejected": ""}, "empty rejected response"),
        ({**GOOD, "rejected": " a\n"}, "chosen equal to rejected"),
        ({**GOOD, "maxim": "modesty"}, "unknown maxim 'modesty'"),
        ({**GOOD, "maxim": 1}, "maxim is not text"),
        ({**GOOD, "source_id": []}, "source_id is neither text nor a number"),
        ({**GOOD, "chosen": "\ud800"}, "half a character"),
        ({"input_text": "no tags", "target_text": "a"}, "no [CONTEXT] tag"),
        ({"input_text": REPAIR.replace("QUALITY", "WIT"), "target_text": "a"}, "unknown maxim"),
        ({"input_text": REPAIR[29:], "target_text": "a"}, "no [VIOLATION=…] tag"),
        ({"input_text": REPAIR, "target_text": "No."}, "chosen equal to rejected"),
    ],
)
def test_rows_that_are_no_pairs_have_a_reason(value: object, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_row(row_of(value))
    assert str(caught.value).startswith(reason)


def test_pointers_become_what_the_responding_speaker_read(tmp_path: Path) -> None:
    path = tmp_path / "sets.json"
    sections = {"FS1": {"entity": "Owls", "fun_facts": ["Owls  fly.", "Owls see."]}}
    talk = {
        "agent_1": sections,
        "agent_2": {"FS1": {"fun_facts": ["Cats nap."]}},
        "article": {"AS1": "News.", "url": "x"},
        "config": "C",
    }
    path.write_text(json.dumps({"t_1": talk, "t_2": {"FS1": "Plain."}}))
    sets = load_reading_sets(path)
    context = "[agent_1]: Hi! [agent_2]: Hello."
    assert responder(context) == "agent_1"
    evidence = "AS1 FS1 FS9 Personal Knowledge"
    resolved = resolve_evidence(evidence, context, sets["t_1"])
    assert resolved == "News. Owls fly. Owls see. FS9 Personal Knowledge"
    assert resolve_evidence("FS1", "[agent_1]: Hi!", sets["t_1"]) == "Cats nap."
    assert resolve_evidence("FS1 FS2", "no speaker", sets["t_2"]) == "Plain. FS2"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], "not an object of conversation"),
        ({"t_1": 3}, "t_1: not an object"),
        ({"t_1": {"FS1": [3]}}, "t_1.FS1: neither text nor a list"),
        ({"t_1": {"agent_1": {"FS2": {"fun_facts": [{}]}}}}, "t_1.agent_1.FS2: neither text"),
    ],
)
def test_wrong_reading_sets_are_errors(tmp_path: Path, value: object, message: str) -> None:
    path = tmp_path / "sets.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataFileError, match=message):
        load_reading_sets(path)
