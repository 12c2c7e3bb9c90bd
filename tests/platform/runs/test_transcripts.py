"""Transcripts: nothing is lost or invented on the way to the file and back, or to the screen."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest

from parley.platform.runs.transcripts import (
    Transcript,
    TranscriptError,
    TranscriptTurn,
    append_transcripts,
    drop_transcripts_after,
    format_transcript,
    printable,
    read_transcripts,
    seat_letters,
    split_pieces,
    title_of,
)


def reply(
    seat: str, text: str, nll: list[float] | None = None, reward: float | None = None
) -> TranscriptTurn:
    """A turn whose tokens are its words."""
    pieces = [word if i == 0 else f" {word}" for i, word in enumerate(text.split())]
    rewards = None if reward is None else {"total": reward, "kl": 0.25}
    return TranscriptTurn(seat, text, pieces, list(range(len(pieces))), nll, rewards)


def dialogue(iteration: int, number: int = 0) -> Transcript:
    turns = [
        reply("opener", "Hello"),
        reply("distorter", "green ideas sleep", [6.0, 7.5, 4.5], 1.25),
        reply("competitor", "why \u00e9 \u2028 <b>?"),
        reply("distorter", "", [], 0.0),
    ]
    return Transcript(iteration, number, "competitor", turns, terminated=True, truncated=False)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.jsonl"
    assert read_transcripts(path) == []
    append_transcripts(path, [dialogue(1, 0), dialogue(1, 1)])
    append_transcripts(path, [])
    append_transcripts(path, [dialogue(2)])
    assert read_transcripts(path) == [dialogue(1, 0), dialogue(1, 1), dialogue(2)]


def test_a_nan_survives_as_a_nan(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.jsonl"
    turn = reply("distorter", "a b", [math.nan, 1.0], math.nan)
    append_transcripts(path, [Transcript(1, 0, "competitor", [turn], False, True)])
    assert "NaN" not in path.read_text()
    (read,) = read_transcripts(path)
    assert read.turns[0].nll is not None
    assert read.turns[0].rewards is not None
    assert math.isnan(read.turns[0].nll[0])
    assert read.turns[0].nll[1] == 1.0
    assert math.isnan(read.turns[0].rewards["total"])


def test_a_torn_last_line_is_left_out_and_dropped_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "transcripts.jsonl"
    append_transcripts(path, [dialogue(iteration) for iteration in (1, 2, 3)])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert [item.iteration for item in read_transcripts(path)] == [1, 2, 3]
    drop_transcripts_after(path, 2)
    append_transcripts(path, [dialogue(3)])
    assert path.read_bytes() == whole
    drop_transcripts_after(path, 0)
    assert path.read_bytes() == b""
    drop_transcripts_after(tmp_path / "absent.jsonl", 1)
    assert not (tmp_path / "absent.jsonl").exists()


@pytest.mark.parametrize(
    "line",
    [
        b"oops",
        b"\xff\xfe",
        b"[1]",
        b"{}",
        b'{"iteration": 1, "number": 0, "opponent": "c", "turns": [],'
        b' "terminated": true, "truncated": false}',
        b'{"iteration": 1, "number": 0, "opponent": "c", "terminated": true, "truncated": false,'
        b' "turns": [{"seat": "d", "text": "a", "pieces": ["a"], "token_ids": [1, 2]}]}',
        b'{"iteration": 1, "number": 0, "opponent": "c", "terminated": 1, "truncated": 0,'
        b' "turns": [{"seat": "d", "text": "", "pieces": [], "token_ids": []}]}',
    ],
)
def test_a_broken_line_in_the_middle_is_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "transcripts.jsonl"
    append_transcripts(path, [dialogue(1)])
    with path.open("ab") as file:
        file.write(line + b"\n")
    append_transcripts(path, [dialogue(2)])
    with pytest.raises(TranscriptError, match=r"transcripts\.jsonl:2: not a dialogue .*delete the"):
        read_transcripts(path)


def test_a_dialogue_as_lines() -> None:
    assert format_transcript(dialogue(7)).split("\n") == [
        "Hello",
        "D: green ideas sleep  [6.00 nats/token, reward +1.25]",
        "C: why \u00e9 \\u2028 <b>?",
        "D: (says nothing)  [reward +0.00]",
    ]
    assert (
        title_of(dialogue(7, 3))
        == "iteration 7, dialogue 3, with competitor, 3 replies, terminated"
    )


@pytest.mark.parametrize(
    ("seats", "letters"),
    [
        (["distorter", "competitor", "distorter"], {"distorter": "D", "competitor": "C"}),
        (["critic", "competitor", "c"], {"critic": "Cr", "competitor": "Co", "c": "C"}),
        (["agent_0", "agent_1"], {"agent_0": "Agent_0", "agent_1": "Agent_1"}),
        (["bot", "bottom"], {"bot": "Bot", "bottom": "Bott"}),
        ([], {}),
    ],
)
def test_letters_tell_the_seats_apart(seats: list[str], letters: dict[str, str]) -> None:
    assert seat_letters(seats) == letters


def test_a_reply_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\td\u202e") == "a\\x1b[2Jb\\nc\\td\\u202e"
    assert printable("caf\u00e9 \u4f60\u597d") == "caf\u00e9 \u4f60\u597d"


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        ("plain words", [5, 6]),
        ("caf\u00e9!", [4, 5]),
        ("\U0001f600\U0001f601", [1, 2, 3, 5]),
        ("\u4f60\u597d", [1, 2, 3, 4, 5]),
        ("", []),
    ],
)
def test_pieces_join_to_the_text_and_never_split_a_character(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = [0, *cuts, len(data)] if data else []
    parts = [data[start:end] for start, end in pairwise(edges)]

    def decode(ids: list[int]) -> str:
        return b"".join(parts[i] for i in ids).decode("utf-8", errors="replace")

    pieces = split_pieces(decode, range(len(parts)))
    assert len(pieces) == len(parts)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_pieces_of_bytes_that_are_no_characters_still_join() -> None:
    parts = [b"\xe2", b"A", b"\xf0\x9f", b"\xff", b"z", b"\xe2\x82"]

    def decode(ids: list[int]) -> str:
        return b"".join(parts[i] for i in ids).decode("utf-8", errors="replace")

    pieces = split_pieces(decode, range(len(parts)))
    assert "".join(pieces) == decode(list(range(len(parts))))
