"""Conversations between people, from Topical-Chat's JSON or from plain text.

JSON, as the Topical-Chat corpus has it (Gopalakrishnan et al. 2019, Interspeech): an object of
conversation id -> `{"content": [{"message": ...}, ...]}`; other keys are not read. Plain text: one
turn a line, a blank line between two conversations.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".json", ".txt")
MIN_MESSAGES = 2


@dataclass(frozen=True)
class Conversation:
    """Who said what is not kept: turns alternate."""

    id: str
    """Unlike that of every other conversation."""
    messages: tuple[str, ...]
    """At least two, none blank."""


@dataclass(frozen=True)
class Split:
    """Conversations in three parts without a conversation in common."""

    training: list[Conversation]
    selection: list[Conversation]
    """By which a checkpoint is chosen."""
    heldout: list[Conversation]
    """On which the chosen one is measured."""


def load_conversations(path: Path) -> list[Conversation]:
    """The conversations of a `.json` or `.txt` file, or of all such files in a folder, by name.

    Raises:
        ValueError: there is no such file, nothing in it, or a row that cannot be used; the message
            names file, conversation and row, and says what to do.
    """
    conversations = [found for file in _files(path) for found in _load_file(file)]
    if not conversations:
        raise ValueError(
            f"{path}: no conversation in it; give Topical-Chat's JSON, or a text file with one "
            f"turn a line and a blank line between conversations"
        )
    seen: set[str] = set()
    for conversation in conversations:
        if conversation.id in seen:
            raise ValueError(
                f"{path}: conversation {conversation.id} stands there twice; remove one of them, "
                f"or it may be trained on and measured on"
            )
        seen.add(conversation.id)
    return conversations


def number_conversations(dialogues: Sequence[Sequence[str]]) -> list[Conversation]:
    """Dialogues without ids, numbered."""
    return [Conversation(str(number), tuple(talk)) for number, talk in enumerate(dialogues)]


def split_conversations(
    conversations: Iterable[Conversation], holdout: float, selection: float
) -> Split:
    """Split by conversation: who stands where depends on the ids alone, by their hash.

    Args:
        conversations: in any order; the parts are in the order of the hash.
        holdout, selection: shares in (0, 1), of at least one conversation each.

    Raises:
        ValueError: a part would be empty.
    """
    ordered = sorted(conversations, key=lambda conversation: _hash(conversation.id))
    num_heldout = max(1, round(holdout * len(ordered)))
    num_selection = max(1, round(selection * len(ordered)))
    first_training = num_heldout + num_selection
    if first_training >= len(ordered):
        raise ValueError(
            f"{len(ordered)} conversations leave nothing to train on beside {num_heldout} held-out "
            f"ones and {num_selection} to select by; give more, or lower the shares"
        )
    return Split(
        training=ordered[first_training:],
        selection=ordered[num_heldout:first_training],
        heldout=ordered[:num_heldout],
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"{path}: no such file or folder; name one with {_suffixes()}")
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not files:
        raise ValueError(f"{path}: no file in this folder ends in {_suffixes()}")
    return files


def _load_file(file: Path) -> list[Conversation]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read as UTF-8 text: {error}") from error
    return _parse_json(file, text) if file.suffix == ".json" else _parse_text(file, text)


def _parse_text(file: Path, text: str) -> list[Conversation]:
    conversations: list[Conversation] = []
    turns: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate([*lines, ""], start=1):
        if line.strip():
            turns.append(line.strip())
        elif turns:
            if len(turns) < MIN_MESSAGES:
                raise ValueError(
                    f"{file}:{number - 1}: a conversation of a single turn; give it an answer in "
                    f"the next line, or delete it"
                )
            conversations.append(Conversation(f"{file.name}:{number - len(turns)}", tuple(turns)))
            turns = []
    return conversations


def _parse_json(file: Path, text: str) -> list[Conversation]:
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}:{error.lineno}: not valid JSON ({error.msg}); the file is truncated or "
            f"damaged, get it again"
        ) from error
    if not isinstance(table, dict):
        raise ValueError(
            f"{file}: a list or a plain value stands there; Topical-Chat's form is an object of "
            f'conversation id -> {{"content": [{{"message": ...}}, ...]}}'
        )
    return [_parse_conversation(file, str(name), entry) for name, entry in table.items()]


def _parse_conversation(file: Path, name: str, entry: object) -> Conversation:
    where = f"{file}: conversation {name}"
    rows = entry.get("content") if isinstance(entry, dict) else None
    if not isinstance(rows, list):
        raise ValueError(f"{where}: has no list `content`; add it or delete the conversation")
    if len(rows) < MIN_MESSAGES:
        raise ValueError(
            f"{where}: {len(rows)} rows are no dialogue; it needs {MIN_MESSAGES}, delete it"
        )
    messages = []
    for number, row in enumerate(rows, start=1):
        message = row.get("message") if isinstance(row, dict) else None
        if not isinstance(message, str):
            raise ValueError(
                f"{where}: row {number} of `content` has no text under `message` but {row!r:.80}; "
                f"write one or delete the row"
            )
        if not message.strip():
            raise ValueError(
                f"{where}: the message of row {number} is blank; write something or delete the row"
            )
        messages.append(message.strip())
    return Conversation(name, tuple(messages))


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _suffixes() -> str:
    return " or ".join(SUFFIXES)
