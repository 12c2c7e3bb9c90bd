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
        (b"# only\n\n", r"openers\.txt: no opener in 2 lines"),
        (b"Hi\nHello\n Hi \n", r"openers\.txt: line 3 repeats line 1 \('Hi'\): remove one"),
        (b"Hi\nGr\xfc\xdf\n", r"openers\.txt: line 2 is not UTF-8 text: save the file as UTF-8"),
    ],
)
def test_faulty_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_openers(write(tmp_path, content))


def test_unreadable_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.txt: no such file: name a text file"):
        load_openers(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
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
