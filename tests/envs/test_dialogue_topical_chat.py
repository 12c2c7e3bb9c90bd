"""Conversations from files: both forms, broken ones with the remedy, splits by conversation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parley.envs.dialogue.topical_chat import (
    Conversation,
    load_conversations,
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
        ([1], r"talks.json: a list or a plain value .* object of conversation id"),
        ('{"t_1":\n {"content"', r"talks.json:2: not valid JSON .* truncated or damaged"),
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
            r"the message of row 2 is blank; write something or delete the row",
        ),
    ],
)
def test_broken_json_is_refused(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_conversations(write(tmp_path, content))


def test_other_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent: no such file or folder; name one with \.json"):
        load_conversations(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"no file in this folder ends in \.json or \.txt"):
        load_conversations(tmp_path)
    single = write(tmp_path, "One?\nTwo.\n\nalone\n\n", "talks.txt")
    with pytest.raises(ValueError, match=r"talks\.txt:4: a conversation of a single turn"):
        load_conversations(single)
    with pytest.raises(ValueError, match="no conversation in it"):
        load_conversations(write(tmp_path, " \n\n", "blank.txt"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"bytes\.txt: cannot be read as UTF-8"):
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
