"""`parley data prepare`: what is written, what is dropped and why, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parley.platform.cli import main
from parley.platform.maxims.pairs.folder import read_pairs
from parley.platform.maxims.pairs.generated import generate_pairs
from parley.platform.maxims.pairs.leaks import check_leaks
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair

PAIRS = [*generate_pairs(300, seed=0).training, *generate_pairs(300, seed=0).heldout]


def as_repair(pair: PreferencePair) -> dict[str, Any]:
    body = pair.prompt.removeprefix("Context: ").removesuffix("\nGenerate cooperative response:")
    context, _, evidence = body.rpartition("\nEvidence: ")
    names = pair.maxim.split("+")
    tags = " ".join(f"[VIOLATION={name.upper()}]" for name in names)
    return {
        "input_text": f"[REPAIR] {tags} [CONTEXT] {context} [EVIDENCE] {evidence} [RESPONSE] "
        f"{pair.rejected}",
        "target_text": f"{pair.chosen}  ",
        "violation_types": names,
        "maxim": names[0] if len(names) == 1 else "multiple",
        "source_id": pair.conversation,
    }


def as_preference(pair: PreferencePair) -> dict[str, Any]:
    request = "\n\nGenerate a cooperative response:"
    prompt = pair.prompt.removesuffix("\nGenerate cooperative response:") + request
    return {"prompt": prompt, "chosen": pair.chosen, "rejected": pair.rejected}


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Repairs as JSON and, of the same conversations, preference rows as JSONL."""
    repairs, preferences = tmp_path / "repairs.json", tmp_path / "preferences.jsonl"
    repairs.write_text(json.dumps([as_repair(pair) for pair in PAIRS[::2]]))
    lines = [json.dumps(as_preference(pair)) for pair in PAIRS[1::2]]
    preferences.write_text("\n".join(lines))
    return [str(repairs), str(preferences)]


def prepare(*arguments: object) -> int:
    return main(["data", "prepare", *map(str, arguments)])


def test_repairs_and_preferences_become_one_split(
    inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    assert prepare(*inputs, "--out", out) == 0
    split = read_pairs(out)
    pairs = split.training + split.heldout
    printed = capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    dropped = (out / "dropped.jsonl").read_text().splitlines()
    assert len(pairs) + len(dropped) == len(PAIRS)
    assert {pair.id for pair in pairs} <= {pair.id for pair in PAIRS}
    assert not any(check_leaks(split).leaks.values())
    assert "  shared prompts                         0\n" in printed
    assert "  shared conversations                   0\n" in printed
    assert summary["pairs"] == {"train": len(split.training), "test": len(split.heldout)}
    assert [row["rows"] for row in summary["inputs"]] == [150, 150]
    assert summary["check"]["shared_prompts"] == 0
    assert len(summary["inputs"][0]["sha256"]) == 64
    assert {pair.source for pair in pairs} == {"repairs.json", "preferences.jsonl"}


def test_the_share_is_met_and_every_maxim_held_out(inputs: list[str], tmp_path: Path) -> None:
    assert prepare(*inputs, "--out", tmp_path / "data", "--split", "0.8") == 0
    split = read_pairs(tmp_path / "data")
    share = len(split.heldout) / (len(split.training) + len(split.heldout))
    assert share == pytest.approx(0.2, abs=0.05)
    held = {pair.maxim for pair in split.heldout}
    assert held >= {"quantity", "quality", "relation", "manner"}


def test_the_split_depends_on_content_and_seed_alone(inputs: list[str], tmp_path: Path) -> None:
    repairs, preferences = map(Path, inputs)
    rows = json.loads(repairs.read_text())
    (tmp_path / "turned.json").write_text(json.dumps(rows[::-1]))
    outs = [tmp_path / name for name in ("one", "two", "three")]
    assert prepare(repairs, preferences, "--out", outs[0], "--format", "jsonl") == 0
    assert prepare(preferences, tmp_path / "turned.json", "--out", outs[1]) == 0
    assert prepare(repairs, preferences, "--out", outs[2], "--seed", 5) == 0
    sides = [
        tuple([pair.id for pair in side] for side in (split.training, split.heldout))
        for split in map(read_pairs, outs)
    ]
    assert sides[0] == sides[1]
    assert sides[0] != sides[2]
    # What was written may be prepared again: the ids stay.
    again = tmp_path / "again"
    files = [outs[0] / "train.jsonl", outs[0] / "test.jsonl"]
    assert prepare(*files, "--out", again) == 0
    assert without_source(read_pairs(again)) == without_source(read_pairs(outs[0]))


def without_source(split: PairSplit) -> PairSplit:
    """Both sides without the names of the files that the pairs came from."""
    training, heldout = (
        [replace(pair, source="") for pair in side] for side in (split.training, split.heldout)
    )
    return PairSplit(training, heldout)


def test_hash_seeds_change_nothing(inputs: list[str], tmp_path: Path) -> None:
    for seed in ("1", "2"):
        out = tmp_path / f"out{seed}"
        call = [sys.executable, "-m", "parley.platform.cli", "data", "prepare", *inputs]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(
            [*call, "--out", str(out)], env=environment, check=True, stdout=subprocess.DEVNULL
        )
    for file in (tmp_path / "out1").iterdir():
        assert file.read_bytes() == (tmp_path / "out2" / file.name).read_bytes()


def test_every_dropped_row_is_listed_with_its_reason(
    inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repair, preference = as_repair(PAIRS[0]), as_preference(PAIRS[1])
    text = repair["input_text"]
    bad: dict[str, object] = {
        "no [EVIDENCE] tag": {**repair, "input_text": text.replace("[EVIDENCE]", "")},
        "[EVIDENCE] before [CONTEXT]": {
            **repair,
            "input_text": f"[EVIDENCE] e [CONTEXT] {text[:9]} [RESPONSE] r",
        },
        "empty context": {
            **preference,
            "prompt": "Context: \nEvidence: FS1\n\nGenerate a cooperative response:",
        },
        "empty chosen response": {**preference, "chosen": " "},
        "unknown maxim 'wit'": {
            **repair,
            "input_text": text.replace("[REPAIR]", "[VIOLATION=WIT]"),
        },
        "chosen equal to rejected": {**preference, "rejected": f" {preference['chosen']}"},
        "chosen is not text": {**preference, "chosen": 7},
        "not an object": ["a list"],
        "duplicate": preference,
    }
    odd = as_repair(PAIRS[2])
    odd["input_text"] += " [CONTEXT] said twice"
    file = tmp_path / "bad.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in [*bad.values(), odd]))
    out = tmp_path / "data"
    assert prepare(*inputs, file, "--out", out) == 0
    listed = [json.loads(line) for line in (out / "dropped.jsonl").read_text().splitlines()]
    found = {row["number"]: row for row in listed if row["file"] == str(file)}
    for number, (reason, value) in enumerate(bad.items(), 1):
        assert found[number]["reason"].startswith(reason)
        assert found[number]["unit"] == "line"
        assert found[number]["row"] == json.dumps(value)[:200]
    printed = capsys.readouterr().out
    for reason in bad:
        assert f"1  {reason}\n" in printed
    assert f"listed in {out / 'dropped.jsonl'}" in printed
    warnings = [json.loads(line) for line in (out / "warnings.jsonl").read_text().splitlines()]
    assert [(row["number"], row["reason"]) for row in warnings] == [
        (10, "tag [CONTEXT] inside the text")
    ]


def test_unlabelled_rows_take_the_maxim_of_an_equal_repair(tmp_path: Path) -> None:
    labelled, *others = [pair for pair in PAIRS if pair.maxim == "manner"][:6]
    unlabelled = [
        {**as_preference(labelled), "chosen": "A wholly different and better answer."},
        {**as_preference(others[0]), "rejected": labelled.rejected},
        as_preference(others[1]),
    ]
    rows = [as_repair(labelled), *unlabelled, *map(as_repair, others[2:])]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    assert prepare(file, "--out", tmp_path / "data", "--split", 0.5) == 0
    summary = json.loads((tmp_path / "data" / "summary.json").read_text())
    assert list(summary["labelled"].values()) == [1, 0, 1]
    split = read_pairs(tmp_path / "data")
    maxims = [pair.maxim for pair in split.training + split.heldout]
    assert sorted(set(maxims)) == ["manner", "unknown"]
    assert maxims.count("unknown") == 1


def test_reading_sets_fill_in_evidence_and_keep_ids(inputs: list[str], tmp_path: Path) -> None:
    rows = json.loads(Path(inputs[0]).read_text())
    for row in rows:
        row["input_text"] = row["input_text"].replace("Personal Knowledge", "FS1 FS2")
    file, sets = tmp_path / "pointed.json", tmp_path / "sets.json"
    file.write_text(json.dumps(rows))
    sets.write_text(json.dumps({row["source_id"]: {"FS1": "Owls fly."} for row in rows}))
    assert prepare(file, "--out", tmp_path / "kept") == 0
    assert prepare(file, "--out", tmp_path / "filled", "--reading-sets", sets) == 0
    kept, filled = (read_pairs(tmp_path / name) for name in ("kept", "filled"))
    assert [pair.id for pair in kept.training] == [pair.id for pair in filled.training]
    assert "\nEvidence: FS1 FS2\n" in kept.training[0].prompt
    assert "\nEvidence: Owls fly. FS2\n" in filled.training[0].prompt
    summary = json.loads((tmp_path / "filled" / "summary.json").read_text())
    assert summary["evidence_pointers"]["resolved"] == summary["evidence_pointers"]["kept"]


def test_short_texts_on_both_sides_are_taken_out_of_the_held_out_one(tmp_path: Path) -> None:
    rows = [{**as_repair(pair), "source_id": f"t_{n}"} for n, pair in enumerate(PAIRS[:200:8])]
    for row in rows[:15]:
        row["target_text"] = "Yes, I do!"
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    assert prepare(file, "--out", tmp_path / "data", "--split", 0.6) == 0
    split = read_pairs(tmp_path / "data")
    assert not any(check_leaks(split).leaks.values())
    dropped = (tmp_path / "data" / "dropped.jsonl").read_text()
    assert "stands in training, too" in dropped


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"prompt": "\xff"}]', "not UTF-8"),
        (b'[{"prompt": "a"', "cut short"),
        (b"", "is empty"),
        (b'[{"prompt": "a"}]', "no usable row: 1 x neither a repair"),
        (b"[]", "there are no rows"),
        (json.dumps([as_preference(PAIRS[0])]).encode(), "one conversation"),
    ],
)
def test_files_of_no_use_are_errors_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    file = tmp_path / "rows.json"
    file.write_bytes(content)
    assert prepare(file, "--out", tmp_path / "data") == 2
    error = capsys.readouterr().err
    assert error.startswith("parley data: ")
    assert message in error
    assert not (tmp_path / "data").exists()


def test_absent_files_and_wrong_usage_exit_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(tmp_path / "absent.json", "--out", tmp_path / "data") == 2
    assert "there is no such file" in capsys.readouterr().err
    for wrong in (["--split", "1"], ["--split", "half"], ["--format", "csv"], ["--seed", "-1"]):
        with pytest.raises(SystemExit) as caught:
            prepare("rows.json", "--out", tmp_path / "data", *wrong)
        assert caught.value.code == 2
    with pytest.raises(SystemExit):
        main(["data", "cook", "rows.json", "--out", str(tmp_path)])


def test_a_folder_in_use_is_replaced_on_demand_only(
    inputs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    assert prepare(*inputs, "--out", out) == 0
    before = (out / "train.parquet").read_bytes()
    assert prepare(*inputs, "--out", out, "--seed", 1) == 2
    assert "--force" in capsys.readouterr().err
    assert (out / "train.parquet").read_bytes() == before
    assert prepare(*inputs, "--out", out, "--seed", 1, "--format", "jsonl", "--force") == 0
    assert not (out / "train.parquet").exists()
    (out / "notes.txt").write_text("mine")
    assert prepare(*inputs, "--out", out, "--force") == 2
    assert (out / "notes.txt").read_text() == "mine"


GRICEBENCH = Path(os.environ.get("PARLEY_DATA", "../shared/data")) / "gricebench"


@pytest.mark.skipif(not GRICEBENCH.is_dir(), reason="the real pairs are not at hand")
def test_the_real_pairs_are_split_without_a_leak(tmp_path: Path) -> None:
    files = [GRICEBENCH / "repair_pairs.json", GRICEBENCH / "preference_pairs.json"]
    assert prepare(*files, "--out", tmp_path / "data") == 0
    split = read_pairs(tmp_path / "data")
    assert len(split.training) + len(split.heldout) == 4_702
    assert len(split.heldout) / 4_702 == pytest.approx(0.1, abs=0.005)
    check = check_leaks(split)
    assert not any(check.leaks.values())
    assert check.crossed_responses == 0
