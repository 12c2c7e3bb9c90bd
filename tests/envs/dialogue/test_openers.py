from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parley.envs.dialogue.openers import OPENERS, load_openers, split_openers


def write(folder: Path, content: bytes) -> Path:
    path = folder / "openers.txt"
    path.write_bytes(content)
    return path


def test_the_built_in_openers() -> None:
    openers = load_openers()
    assert openers[0] == "Hello"
    assert len(set(openers)) == len(openers) >= 120
    assert all(opener == " ".join(opener.split()) and len(opener) < 100 for opener in openers)


def test_a_file_has_one_a_line_and_may_have_comments(tmp_path: Path) -> None:
    text = "\ufeff# greetings\r\nHello\r\n\r\n   Grüß dich! # not a comment \r\n#Hello"
    assert load_openers(write(tmp_path, text.encode())) == ["Hello", "Grüß dich! # not a comment"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"openers\.txt: no opener in 0 lines: write one a line"),
        (b"# only\n\n", r"openers\.txt: no opener in 1 lines"),
        (b"Hi\nHello\n Hi \n", r"openers\.txt: line 3 repeats line 1 \('Hi'\): remove one"),
        (
            b"Hi\nGr\xfc\xdf\n",
            r"openers\.txt, line 2: byte 6 .* is not UTF-8; save the file",
        ),
    ],
)
def test_faulty_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_openers(write(tmp_path, content))


def test_unreadable_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.txt: there is no such file"):
        load_openers(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match=r"is a folder; name a file in it"):
        load_openers(tmp_path)


@pytest.mark.parametrize("holdout", [0.1, 0.25, 0.5, 0.9])
def test_a_split_is_a_partition_near_the_share(holdout: float) -> None:
    train, heldout = split_openers(OPENERS, holdout)
    assert sorted(train + heldout) == sorted(OPENERS)
    assert train == [opener for opener in OPENERS if opener in train]
    # Four standard deviations of a binomial share.
    assert abs(len(heldout) / len(OPENERS) - holdout) < 4 * (0.25 / len(OPENERS)) ** 0.5


def test_a_split_depends_on_the_text_alone() -> None:
    _, heldout = split_openers(OPENERS, 0.3)
    _, backwards = split_openers(OPENERS[::-1], 0.3)
    assert backwards == heldout[::-1]
    _, fewer = split_openers(OPENERS[:60], 0.3)
    assert fewer == [opener for opener in heldout if opener in OPENERS[:60]]
    _, more = split_openers(OPENERS, 0.6)
    assert set(heldout) < set(more)


def test_a_split_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "from parley.envs.dialogue.openers import *; print('|'.join(split_openers(OPENERS, .2)[1]))"
    )
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        output = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
        assert output.strip().split("|") == split_openers(OPENERS, 0.2)[1]


@pytest.mark.parametrize("holdout", [1e-9, 0.5, 1 - 1e-9])
def test_no_part_is_empty(holdout: float) -> None:
    for openers in (["a", "b"], ["c", "d", "e"], OPENERS):
        assert all(split_openers(openers, holdout))


def test_refused_splits() -> None:
    for holdout in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"holdout must be between 0 and 1 \(exclusive\)"):
            split_openers(OPENERS, holdout)
    with pytest.raises(ValueError, match="1 openers cannot be split"):
        split_openers(["Hello"], 0.5)
    with pytest.raises(ValueError, match=r"\['Hello'\] more than once"):
        split_openers(["Hello", "Hi", "Hello"], 0.5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("openers.TXT", "Hello <|endoftext|>\nHow are you?\n"),
        ("openers.json", '["Hello", "How are you?"]'),
        ("openers.JSONL", '"Hello"\r\n\r\n"How are you?</s>"\r\n'),
        ("openers.jsonl", '\ufeff{"text": "Hello"}\n{"text": "How are you?"}\n'),
        (
            "turns.jsonl",
            '{"speaker": "a", "text": "Hello"}\n{"speaker": "b", "text": "Hi"}\n\n'
            '{"speaker": "a", "text": "How are you?"}\n',
        ),
        (
            "messages.jsonl",
            '{"messages": [{"role": "user", "content": "Hello"}]}\n'
            '{"messages": [{"role": "user", "content": "How are you?"}]}\n'
            '{"messages": [{"role": "user", "content": "Hello"}]}\n',
        ),
    ],
)
def test_openers_are_read_like_all_text(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert load_openers(tmp_path / name) == ["Hello", "How are you?"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("openers.csv", "Hello\n", "tables are not read"),
        ("openers", "Hello\n", "its name has no ending"),
        ("openers.txt", '{"text": "Hello"}\n', r"line 1: .* JSON stands there"),
        ("openers.jsonl", '"Hi"\n"Hi"\n', "line 2 repeats line 1"),
        ("openers.jsonl", "", "no opener"),
    ],
)
def test_other_files_of_openers_are_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_openers(tmp_path / name)
