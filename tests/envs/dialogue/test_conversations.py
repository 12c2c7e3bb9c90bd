"""Conversations from files: both forms, broken ones with the remedy, splits by conversation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from parley.envs.dialogue.conversation_files import describe_reading, load_conversations
from parley.envs.dialogue.conversations import (
    Conversation,
    number_conversations,
    split_conversations,
)

GOOD = {"t_1": {"content": [{"message": " Hi! ", "agent": "agent_1"}, {"message": "Hello."}]}}


def write(folder: Path, content: object, name: str = "talks.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_json_and_text_and_folders(tmp_path: Path) -> None:
    first = write(tmp_path, GOOD)
    second = write(tmp_path, "One?\nTwo.\n\n\nThree\nFour\nFive\n", "talks.txt")
    (tmp_path / "notes.md").write_text("not read")
    assert load_conversations(first) == [Conversation("t_1", ("Hi!", "Hello."))]
    texts = load_conversations(second)
    assert [talk.messages for talk in texts] == [("One?", "Two."), ("Three", "Four", "Five")]
    assert load_conversations(tmp_path) == [*load_conversations(first), *texts]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"talks.json: no conversation in it; give Topical-Chat's JSON"),
        ([1], r"talks.json, row 1: neither a turn nor .* object of conversation id"),
        ('{"t_1":\n {"content"', r"talks.json, line 2, column 12: .* cut short or damaged"),
        ({"t_1": {"turns": []}}, r"conversation t_1: has no list `content`; add it or delete"),
        ({"t_1": ["hi"]}, r"conversation t_1: has no list `content`"),
        ({"t_1": {"content": [{"message": "Hi"}]}}, r"conversation t_1: 1 rows are no dialogue"),
        (
            {**GOOD, "t_2": {"content": [{"message": "Hi"}, {"text": "Hello"}]}},
            r"conversation t_2: row 2 of `content` has no text under `message` but .*'text'",
        ),
        (
            {"t_1": {"content": [{"message": 7}, {"message": "Hello"}]}},
            r"row 1 of `content` has no text .* write one or delete the row",
        ),
        (
            {"t_1": {"content": [{"message": "Hi"}, {"message": " \n"}]}},
            r"the message of row 2 of `content` is blank; write something or delete the row",
        ),
    ],
)
def test_broken_json_is_refused(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_conversations(write(tmp_path, content))


def test_other_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent: no such file or folder; name one with \.txt"):
        load_conversations(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"no file in this folder ends in \.txt, \.json, "):
        load_conversations(tmp_path)
    single = write(tmp_path, "One?\nTwo.\n\nalone\n\n", "talks.txt")
    with pytest.raises(ValueError, match=r"talks\.txt:4: a conversation of a single turn"):
        load_conversations(single)
    with pytest.raises(ValueError, match="no conversation in it"):
        load_conversations(write(tmp_path, " \n\n", "blank.txt"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"bytes\.txt is not UTF-8 but UTF-16"):
        load_conversations(tmp_path / "bytes.txt")


def test_a_conversation_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "a.json")
    write(tmp_path, GOOD, "b.json")
    with pytest.raises(ValueError, match="conversation t_1 stands there twice"):
        load_conversations(tmp_path)


def test_splits_share_no_conversation_and_do_not_depend_on_the_order() -> None:
    talks = number_conversations([[f"question {n}", f"answer {n}"] for n in range(200)])
    split = split_conversations(talks, holdout=0.1, selection=0.05)
    parts = [
        {talk.id for talk in part} for part in (split.training, split.selection, split.heldout)
    ]
    assert [len(part) for part in parts] == [170, 10, 20]
    assert set().union(*parts) == {talk.id for talk in talks}
    assert split_conversations(reversed(talks), holdout=0.1, selection=0.05) == split
    assert {int(name) for name in parts[2]} != set(range(20))


def test_a_split_without_training_is_refused() -> None:
    talks = number_conversations([["a", "b"]] * 2)
    with pytest.raises(ValueError, match="2 conversations leave nothing to train on"):
        split_conversations(talks, holdout=0.1, selection=0.1)


TALKS = [("Hi Ann!", "Hello Bo."), ("Do you like tea?", "Yes.", "So do I.")]
MESSAGES = [
    {"messages": [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(talk)]}
    for talk in TALKS
]
TURNS = [
    [{"speaker": ("bo", "ann")[n % 2], "text": text} for n, text in enumerate(talk)]
    for talk in TALKS
]


def lines_of(rows: object) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)  # type: ignore[attr-defined]


FILES = {
    "messages.jsonl": lines_of(MESSAGES),
    "messages.JSONL": lines_of(MESSAGES),
    "messages.ndjson": lines_of(MESSAGES).replace("\n", "\r\n"),
    "messages.JSON": json.dumps(MESSAGES, indent=1),
    "blank lines.jsonl": "\ufeff\n" + "\n".join(map(lines_of, TURNS)),
    "ids.jsonl": lines_of([{"dialogue_id": n, **t} for n, talk in enumerate(TURNS) for t in talk]),
    "turn ids.jsonl": "\n".join(
        lines_of([{"id": f"{n}/{k}", **t} for k, t in enumerate(talk)])
        for n, talk in enumerate(TURNS)
    ),
    "flat messages.jsonl": "\n".join(lines_of(row["messages"]) for row in MESSAGES),
    "lines.json": lines_of(MESSAGES),
    "list.jsonl": json.dumps(MESSAGES, indent=1),
    "list.json": json.dumps([{"id": n, **t} for n, talk in enumerate(TURNS) for t in talk]),
    "system.jsonl": lines_of(
        {"messages": [{"role": "system", "content": "Be kind."}, *row["messages"]]}
        for row in MESSAGES
    ),
    "sharegpt.json": json.dumps(
        [
            {"conversations": [{"from": m["role"], "value": m["content"]} for m in row["messages"]]}
            for row in MESSAGES
        ]
    ),
    "topical.JSON": json.dumps(
        {str(n): {"content": [{"message": text} for text in talk]} for n, talk in enumerate(TALKS)}
    ),
    "plain.TXT": "\n\n".join("\n".join(talk) for talk in TALKS) + "\n",
    "crlf.txt": "\ufeff" + "\r\n\r\n".join("\r\n".join(talk) for talk in TALKS),
    "cr.txt": "\r\r".join("\r".join(talk) for talk in TALKS),
    "ends.txt": "\n\n".join("\n".join(f"{t} <|endoftext|>" for t in talk) for talk in TALKS),
    "line of end.txt": "\n<|endoftext|>\n".join("\n".join(talk) for talk in TALKS),
    "a line each.txt": "\n".join("<|endoftext|>".join([*talk, ""]) for talk in TALKS),
}


@pytest.mark.parametrize("name", FILES)
def test_every_form_gives_the_same_conversations(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name].encode())
    found = load_conversations(path)
    assert [talk.messages for talk in found] == TALKS
    assert len({talk.id for talk in found}) == 2
    assert sum(talk.joined for talk in found) == 0
    assert describe_reading(found) == (
        "5 turns end in a spelt end token, which is left out"
        if name in ("ends.txt", "a line each.txt")
        else None
    )


def test_texts_may_hold_what_other_programs_take_for_ends_of_lines(tmp_path: Path) -> None:
    odd = "a\u2028b\x0bc\x0cd\x85e\x1cf"
    rows = [{"speaker": "x", "text": odd}, {"speaker": "y", "text": f"2\r{odd}"}]
    lines = lines_of(rows).replace("\\u000b", "\\u000B")
    (talk,) = load_conversations(write(tmp_path, lines, "odd.jsonl"))
    assert talk.messages == (odd, f"2\r{odd}")
    (talk,) = load_conversations(write(tmp_path, f"{odd}\n{odd}\n", "odd.txt"))
    assert talk.messages == (odd, odd)


def test_compressed_files_of_another_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "talks.txt").write_bytes(gzip.compress(b"Hi\nHello\n"))
    with pytest.raises(ValueError, match=r"talks\.txt is compressed \(gzip\); unpack it"):
        load_conversations(tmp_path / "talks.txt")


def test_what_a_speaker_says_in_a_row_is_one_turn(tmp_path: Path) -> None:
    rows = [
        {"speaker": "ann", "text": "Hi!</s>"},
        {"speaker": "ann", "text": " Me again. <|im_end|> "},
        {"speaker": "bo", "text": "Hello."},
        {"text": "nobody"},
        {"text": "says who"},
    ]
    (talk,) = found = load_conversations(write(tmp_path, lines_of(rows), "turns.jsonl"))
    assert talk.messages == ("Hi! Me again.", "Hello.", "nobody", "says who")
    assert (talk.joined, talk.spelt_ends) == (1, 2)
    assert describe_reading(found) == (
        "1 turns joined to the one before, of the same speaker; "
        "2 turns end in a spelt end token, which is left out"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("talks.csv", "speaker,text\nann,Hi\n", r"talks\.csv: tables are not read; .* as \.jsonl"),
        ("talks.TSV", "ann\tHi\n", r"tables are not read"),
        ("talks.txt.gz", "x", r"compressed files are not read; unpack it \(gunzip\)"),
        ("talks.parquet", "PAR1", r"Parquet is not read here"),
        ("talks.md", "Hi\nHello\n", r"its name ends in \.md, .*rename it to .* \.txt or \.json"),
        ("talks", "Hi\nHello\n", r"its name has no ending"),
        ("talks.txt", lines_of(MESSAGES), r"talks\.txt, line 1: .* JSON stands there .*\.jsonl"),
        ("talks.txt", json.dumps(MESSAGES, indent=1), r"line 1: .* rename it to \.jsonl"),
        ("talks.txt", "H\0i\0\n\0", r"is not UTF-8 but UTF-16 or no text"),
        ("talks.jsonl", '{"speaker": "a", "text": "Hi"}\nHello\n', r"line 2, column 1: not JSON"),
        ("talks.jsonl", '{"prompt": "x"}\n', r"line 1: neither a turn nor a .* the keys prompt"),
        ("talks.jsonl", '"Hi"\n', r"line 1: neither a turn nor a conversation, but 'Hi'"),
        (
            "talks.jsonl",
            lines_of([*TURNS[0], {"speaker": "bo"}]),
            r"line 3: the row has no text under `text`",
        ),
        (
            "talks.jsonl",
            lines_of([*TURNS[0], {"speaker": "bo", "text": " <|endoftext|> "}]),
            r"line 3: the text of the row is blank",
        ),
        ("talks.jsonl", r'{"speaker": "a", "text": "\ud83d"}', r"line 1: .* half a character"),
        (
            "talks.jsonl",
            lines_of([{"messages": [{"role": "user", "content": [1]}, {"role": "assistant"}]}]),
            r"line 1: row 1 of `messages` has no text under `content`",
        ),
        (
            "talks.jsonl",
            lines_of([{"messages": [*MESSAGES[0]["messages"], {"role": "tool", "content": "7"}]}]),
            r"line 1: row 3 of `messages` is of the role tool, which is no talk",
        ),
        (
            "talks.jsonl",
            lines_of([{"speaker": "a", "text": "Hi"}, {"speaker": "a", "text": "you"}]),
            r"line 1: a conversation of a single turn \(what one speaker says in a row",
        ),
        (
            "talks.jsonl",
            lines_of([MESSAGES[0], TURNS[0][0]]),
            r"line 2: has no list `messages`",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_conversations(write(tmp_path, content, name))
    assert str(tmp_path / name) in str(caught.value)
