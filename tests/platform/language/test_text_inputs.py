"""Text from people, at every command that reads some: the right thing, or a refusal by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from parley.platform.cli import main
from parley.platform.cooperate.dpo.token_pairs import encode_pairs
from parley.platform.language.language_data import LanguageData, encode_split, load_split
from parley.platform.language.settings import DialogueDataConfig, LanguageModelConfig
from parley.platform.language.tokenizer import END_OF_TEXT, train_tokenizer
from parley.platform.maxims.detector.corpus import build_corpus
from parley.platform.maxims.detector_settings import DialogueDetectorConfig
from parley.platform.maxims.pair_settings import PreferenceDataConfig
from parley.platform.maxims.pairs.folder import read_pairs
from parley.platform.maxims.pairs.labelled import read_labelled
from parley.platform.maxims.pairs.reading_sets import load_reading_sets
from parley.platform.settings.loading import load_experiment

TALKS = [
    [f"Hello {name}, do you like {thing}?", f"Yes, {thing} is nice. And you?", "I prefer jazz."]
    for name in ("Ann", "Bo", "Cy", "Di", "Ed")
    for thing in ("tea", "rain", "maps", "soup")
]


def rows_of(talk: list[str], speaker: str, text: str) -> list[dict[str, str]]:
    return [{speaker: ("user", "assistant")[n % 2], text: said} for n, said in enumerate(talk)]


def lines_of(rows: list[dict[str, str]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


CONVERSATIONS: dict[str, str] = {
    "plain.txt": "\n\n".join("\n".join(talk) for talk in TALKS),
    "spelt.txt": "\n\n".join("\n".join(f"{t} {END_OF_TEXT}" for t in talk) for talk in TALKS),
    "turns.jsonl": "\n".join(lines_of(rows_of(talk, "speaker", "text")) for talk in TALKS),
    "messages.JSONL": "\n".join(
        json.dumps({"messages": rows_of(talk, "role", "content")}) for talk in TALKS
    ),
    "topical.JSON": json.dumps(
        {str(n): {"content": [{"message": t} for t in talk]} for n, talk in enumerate(TALKS)}
    ),
}


def learn_from(path: Path) -> LanguageData:
    data = DialogueDataConfig(path=str(path), holdout=0.1, selection=0.1)
    return encode_split(load_split(data, 0), LanguageModelConfig(vocab_size=300, context=64))


def ids_of(data: LanguageData) -> list[str]:
    parts = (data.training, data.selection, data.heldout)
    return sorted(str(data.tokenizer.decode(part[n])) for part in parts for n in range(len(part)))


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_language_model_learns_the_same_from_every_form(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(CONVERSATIONS[name])
    data = learn_from(tmp_path / name)
    assert ids_of(data) == sorted("".join(f"{t}{END_OF_TEXT}" for t in talk) for talk in TALKS)
    spelt = ["60 turns end in a spelt end token, which is left out"]
    assert data.remarks == (spelt if name == "spelt.txt" else [])


def test_a_token_inside_a_turn_is_letters_and_is_told(tmp_path: Path) -> None:
    talks = [[*talk, f"Write {END_OF_TEXT} there."] for talk in TALKS]
    rows = (json.dumps({"messages": rows_of(talk, "role", "content")}) for talk in talks)
    (tmp_path / "talks.jsonl").write_text("\n".join(rows))
    data = learn_from(tmp_path / "talks.jsonl")
    assert data.remarks == ["20 turns spell a special token inside, which is read as letters"]
    ends = sum(int((part.tokens == part.end_token).sum()) for part in (data.training, data.heldout))
    assert ends == 4 * (len(data.training) + len(data.heldout))


PROMPT = "Context: [agent_1]: {0} [agent_2]: {1}\nEvidence: FS1\n\nGenerate a cooperative response:"


def pairs_file(path: Path, end: str = "") -> Path:
    rows = [
        {
            "prompt": PROMPT.format(f"{talk[0]}{end}", f"{talk[1]}{end}"),
            "chosen": f"I like number {n} of the long list of things.{end}",
            "rejected": f"Penguins live {n} miles from here.{end}",
            "conversation": f"c{n}",
        }
        for n, talk in enumerate(TALKS)
    ]
    path.write_text(json.dumps(rows))
    return path


def prepare(source: Path, out: Path) -> Path:
    assert main(["data", "prepare", str(source), "--out", str(out)]) == 0
    return out


def test_pairs_that_spell_their_ends_are_the_pairs_that_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = read_pairs(prepare(pairs_file(tmp_path / "plain.json"), tmp_path / "plain"))
    capsys.readouterr()
    source = pairs_file(tmp_path / "spelt.json", f" {END_OF_TEXT}")
    spelt = read_pairs(prepare(source, tmp_path / "spelt"))
    printed = capsys.readouterr().out
    assert "kept with a warning: 20 rows" in printed
    assert "20  end token spelt at the end of a turn or response (left out)" in printed
    assert [p.id for p in spelt.training] == [p.id for p in plain.training]
    assert [p.prompt for p in spelt.heldout] == [p.prompt for p in plain.heldout]


def test_folders_of_others_may_spell_ends_too(tmp_path: Path) -> None:
    for split in ("train", "test"):
        pairs_file(tmp_path / f"{split}.JSON", END_OF_TEXT)
    pairs = read_pairs(tmp_path)
    assert pairs.spelt_ends == 40
    assert not any(END_OF_TEXT in p.prompt + p.chosen + p.rejected for p in pairs.training)
    tokenizer = train_tokenizer([t for talk in TALKS for t in talk], 300, 128)
    encoded, counts = encode_pairs(pairs.training, tokenizer, 256, PreferenceDataConfig())
    assert (counts.spelt_marks, counts.spelt_letters) == (0, 0)
    assert all(encoded.chosen[n].tolist().count(0) == 1 for n in range(len(encoded)))


def test_what_is_judged_ends_where_it_ends(tmp_path: Path) -> None:
    spelt = read_labelled(pairs_file(tmp_path / "spelt.JSON", END_OF_TEXT))
    plain = read_labelled(pairs_file(tmp_path / "plain.json"))
    assert spelt.rows == plain.rows
    assert (spelt.spelt_ends, plain.spelt_ends) == (20, 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.csv", "speaker,text\nann,Hi\n", "tables are not read"),
        ("data.json.gz", "x", "compressed files are not read; unpack it (gunzip)"),
        ("data.parquet", "PAR1", "Parquet is not read here"),
        ("data.json", '[{"a": 1},\n{"b"', "line 2"),
        ("data.jsonl", "Hello there\n", "line 1, column 1: not JSON: Expecting value, but 'Hello"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        lambda file: ["train", "dialogue/pretrain", "--quick", "--data", file],
        lambda file: ["train", "dialogue/detector", "--quick", f"data.conversations={file}"],
        lambda file: ["train", "dialogue/detector", "--quick", f'data.labelled=["{file}"]'],
        lambda file: ["detect", file],
        lambda file: ["data", "prepare", file, "--out", f"{file}.out"],
    ],
    ids=["pretrain", "conversations", "labelled", "detect", "prepare"],
)
def test_every_command_refuses_other_files_by_name(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[str], list[str]],
    name: str,
    content: str,
    message: str,
) -> None:
    file = tmp_path / name
    file.write_text(content)
    arguments = command(str(file))
    if arguments[0] == "train":
        arguments += ["--run-dir", str(tmp_path / "run")]
    assert main(arguments) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert name in told and message in told


def test_reading_sets_are_json_alone(tmp_path: Path) -> None:
    (tmp_path / "sets.JSON").write_bytes(b'\xef\xbb\xbf{"t1": {"FS1": "Owls see."}}')
    assert load_reading_sets(tmp_path / "sets.JSON") == {"t1": {"": {"FS1": "Owls see."}}}
    (tmp_path / "sets.csv").write_text("FS1,Owls see.\n")
    with pytest.raises(ValueError, match=r"sets\.csv: tables are not read"):
        load_reading_sets(tmp_path / "sets.csv")


def test_a_detectors_corpus_tells_what_was_changed(tmp_path: Path) -> None:
    talks = tmp_path / "spelt.txt"
    talks.write_text(CONVERSATIONS["spelt.txt"])
    config = load_experiment("dialogue/detector", [f"data.conversations={talks}"])
    assert isinstance(config, DialogueDetectorConfig)
    corpus = build_corpus(config)
    assert corpus.remarks == [f"{talks}: 60 turns end in a spelt end token, which is left out"]
    assert sorted(t for part in corpus.conversations for t in part) == sorted(map(tuple, TALKS))
