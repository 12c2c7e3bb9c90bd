"""Conversations from files: Topical-Chat's JSON, JSON lines of turns or of messages, plain text.

Plain text (`.txt`): one turn a line, a blank line between two conversations. JSON lines (`.jsonl`,
`.ndjson`) and JSON lists (`.json`): either a conversation a row, `{"messages": [{"role": ...,
"content": ...}, ...]}`, or a turn a row, `{"speaker": ..., "text": ...}`, where ids or blank lines
tell conversations apart. JSON objects (`.json`): Topical-Chat's, conversation id ->
`{"content": [{"agent": ..., "message": ...}, ...]}` (Gopalakrishnan et al. 2019, Interspeech).

In all of them what one speaker says in a row is one turn, and an end token that is spelt at the
end of a turn (see `spelt_ends`) is that turn's end and left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from parley.envs.dialogue.conversations import Conversation
from parley.envs.dialogue.spelt_ends import split_at_spelt_ends, strip_spelt_ends
from parley.envs.dialogue.text_files import (
    KINDS,
    Kind,
    holds_json_lines,
    kind_of,
    parse_json,
    parse_json_lines,
    read_text,
    refuse_json_as_text,
    split_lines,
)

MIN_MESSAGES = 2
EXAMPLE = '{"speaker": "ann", "text": "Hello!"}'
ID_KEYS = ("conversation", "conversation_id", "dialogue_id", "dialog_id", "id")
"""Where a row may name its conversation; the first that it has counts."""
UNSPOKEN_ROLES = ("system", "developer")
"""Of messages that are instructions: nobody says them, they are left out."""
OTHER_ROLES = ("tool", "function")
"""Of messages that are no talk: a conversation with one is refused."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Form:
    """The keys of one way to write turns as JSON objects."""

    speaker: str
    text: str
    turns: str = ""
    """Where the list of turns stands in the row of a conversation."""


TOPICAL_CHAT = Form("agent", "message", "content")
LISTED = (Form("role", "content", "messages"), Form("from", "value", "conversations"), TOPICAL_CHAT)
"""A conversation a row."""
FLAT = (Form("speaker", "text"), Form("role", "content"), Form("agent", "message"))
"""A turn a row."""


class Row(NamedTuple):
    """One value of a JSON file."""

    place: str
    """Such as `talks.jsonl, line 3`."""
    number: int
    """Of the line, or of the place in a list; a gap is a blank line."""
    value: object


class Turn(NamedTuple):
    """What was said at once, as it is written."""

    speaker: object
    """None where nobody says."""
    text: str


def load_conversations(path: Path) -> list[Conversation]:
    """The conversations of a file, or of all files of a known kind in a folder, by name.

    Raises:
        ValueError: there is no such file, it is of no known kind, nothing stands in it, or a row
            cannot be used; the message names the file and the place, and says what to do.
    """
    conversations = [found for file in _files(path) for found in read_conversations(file)]
    if not conversations:
        raise ValueError(
            f"{path}: no conversation in it; give Topical-Chat's JSON, JSON lines such as "
            f"{EXAMPLE}, or a text file with one turn a line and a blank line between conversations"
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


def describe_reading(conversations: Sequence[Conversation]) -> str | None:
    """What was changed while reading, in one line; None where nothing was."""
    joined = sum(conversation.joined for conversation in conversations)
    spelt = sum(conversation.spelt_ends for conversation in conversations)
    parts = []
    if joined:
        parts.append(f"{joined:,} turns joined to the one before, of the same speaker")
    if spelt:
        parts.append(f"{spelt:,} turns end in a spelt end token, which is left out")
    return "; ".join(parts) or None


def read_conversations(file: Path, min_messages: int = MIN_MESSAGES) -> list[Conversation]:
    """The conversations of one file.

    Raises:
        ValueError: see `load_conversations`; one with fewer turns than `min_messages` is refused.
    """
    kind = kind_of(file, tuple(KINDS.values()), EXAMPLE)
    text = read_text(file)
    if kind == "text":
        return list(_parse_text(file, text, min_messages))
    rows = json_rows(file, kind, text)
    if kind == "json" and len(rows) == 1 and _is_table(rows[0].value):
        return [
            _listed(f"{file}: conversation {name}", str(name), entry, TOPICAL_CHAT, min_messages)
            for name, entry in cast("Mapping[str, object]", rows[0].value).items()
        ]
    return parse_rows(file, rows, min_messages)


def json_rows(file: Path, kind: Kind, text: str) -> list[Row]:
    """The values of JSON lines, of a JSON list, or the one of any other JSON.

    Raises:
        ValueError: not JSON.
    """
    is_list = text.lstrip().startswith("[")
    if (kind == "json lines" and not is_list) or holds_json_lines(text):
        found = parse_json_lines(text, file)
        return [Row(f"{file}, line {number}", number, value) for number, value in found]
    value = parse_json(text, file)
    values = value if isinstance(value, list) else [value]
    return [Row(f"{file}, row {number}", number, each) for number, each in enumerate(values, 1)]


def parse_rows(file: Path, rows: Sequence[Row], min_messages: int) -> list[Conversation]:
    """The conversations of rows that are all of one form, which the first of them says.

    Raises:
        ValueError: a row is of no form, or of another one.
    """
    if not rows:
        return []
    form = _form_of(rows[0])
    if not form.turns:
        return _grouped(file, rows, form, min_messages)
    conversations = []
    for row in rows:
        name = _id_of(row) or f"{file.name}:{row.number}"
        conversations.append(_listed(row.place, name, row.value, form, min_messages))
    return conversations


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder; name one with {_suffixes()}")
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in KINDS)
    if not files:
        others = sorted(file.name for file in path.iterdir())
        found = f"; there is {others[0]}" if others else ""
        raise ValueError(f"{path}: no file in this folder ends in {_suffixes()}{found}")
    return files


def _is_table(value: object) -> bool:
    """Whether a value is Topical-Chat's object of conversations, and no row of any form."""
    forms = {form.turns or form.text for form in (*LISTED, *FLAT)}
    return isinstance(value, Mapping) and forms.isdisjoint(value)


def _parse_text(file: Path, text: str, min_messages: int) -> Iterator[Conversation]:
    """A line with several turns, each closed by a spelt end, is a conversation by itself."""
    lines = split_lines(text)
    refuse_json_as_text(file, lines)
    turns: list[str] = []
    start = num_ends = 0

    def finish(number: int) -> Iterator[Conversation]:
        nonlocal turns, num_ends
        if turns:
            if len(turns) < min_messages:
                raise ValueError(
                    f"{file}:{number - 1}: a conversation of a single turn; give it an answer in "
                    f"the next line, or delete it"
                )
            yield Conversation(f"{file.name}:{start}", tuple(turns), spelt_ends=num_ends)
        turns, num_ends = [], 0

    for number, line in enumerate(lines, start=1):
        said = split_at_spelt_ends(line)
        if len(said) != 1:
            yield from finish(number)
        if said and not turns:
            start = number
        turns += said
        num_ends += len(said) if len(said) > 1 else bool(said) and said[0] != line.strip()
        if len(said) > 1:
            yield from finish(number + 1)
    yield from finish(len(lines) + 1)


def _form_of(row: Row) -> Form:
    value = row.value
    if isinstance(value, Mapping):
        for form in LISTED:
            if isinstance(value.get(form.turns), list):
                return form
        for form in FLAT:
            if form.text in value:
                return form
    found = f"the keys {', '.join(map(str, value))}" if isinstance(value, Mapping) else repr(value)
    raise ValueError(
        f"{row.place}: neither a turn nor a conversation, but {found:.80}; write turns such as "
        f'{EXAMPLE}, conversations such as {{"messages": [{{"role": "user", "content": "Hello!"}}, '
        f"...]}}, or Topical-Chat's object of conversation id -> "
        f'{{"content": [{{"message": ...}}, ...]}}'
    )


def _listed(where: str, name: str, entry: object, form: Form, min_messages: int) -> Conversation:
    """A conversation whose turns stand in a list."""
    rows = entry.get(form.turns) if isinstance(entry, Mapping) else None
    if not isinstance(rows, list):
        raise ValueError(f"{where}: has no list `{form.turns}`; add it or delete the conversation")
    if len(rows) < min_messages:
        raise ValueError(
            f"{where}: {len(rows)} rows are no dialogue; it needs {min_messages}, delete it"
        )
    turns = [
        _turn(row, form, where, f"row {number} of `{form.turns}`")
        for number, row in enumerate(rows, 1)
    ]
    return _conversation(where, name, turns, min_messages)


def _grouped(file: Path, rows: Sequence[Row], form: Form, min_messages: int) -> list[Conversation]:
    """Conversations of turns that stand a row each, told apart by ids, else by blank lines."""
    ids = _ids_of_turns(rows)
    groups: dict[str, list[Row]] = {}
    name, last = "", None
    for row, given in zip(rows, ids, strict=True):
        if given is None and (last is None or row.number > last + 1):
            name = f"{file.name}:{row.number}"
        groups.setdefault(name if given is None else given, []).append(row)
        last = row.number
    return [
        _conversation(
            members[0].place,
            key,
            [_turn(row.value, form, row.place, "the row") for row in members],
            min_messages,
        )
        for key, members in groups.items()
    ]


def _ids_of_turns(rows: Sequence[Row]) -> list[str | None]:
    """The conversation that each turn names; ids that no two turns share name the turns."""
    ids = [_id_of(row) for row in rows]
    is_shared = any(count > 1 for name, count in Counter(ids).items() if name is not None)
    return ids if is_shared else [None] * len(rows)


def _id_of(row: Row) -> str | None:
    value = row.value
    if isinstance(value, Mapping):
        for key in ID_KEYS:
            name = value.get(key)
            if isinstance(name, str | int) and not isinstance(name, bool) and str(name).strip():
                return str(name).strip()
    return None


def _turn(row: object, form: Form, where: str, what: str) -> Turn | None:
    """What a row says; None for an instruction, which nobody says."""
    text = row.get(form.text) if isinstance(row, Mapping) else None
    speaker = row.get(form.speaker) if isinstance(row, Mapping) else None
    if speaker in UNSPOKEN_ROLES:
        return None
    if speaker in OTHER_ROLES:
        raise ValueError(
            f"{where}: {what} is of the {form.speaker} {speaker}, which is no talk; delete the "
            f"conversation, or its rows that people do not read"
        )
    if not isinstance(text, str):
        raise ValueError(
            f"{where}: {what} has no text under `{form.text}` but {row!r:.80}; "
            f"write one or delete the row"
        )
    if _SURROGATE.search(text):
        raise ValueError(
            f"{where}: the {form.text} of {what} holds half a character (a lone surrogate), which "
            f"UTF-8 cannot hold; write the whole character or delete the row"
        )
    if not strip_spelt_ends(text):
        raise ValueError(
            f"{where}: the {form.text} of {what} is blank; write something or delete the row"
        )
    return Turn(speaker, text)


def _conversation(
    where: str, name: str, turns: Sequence[Turn | None], min_messages: int
) -> Conversation:
    """Turns cleaned, and those of one speaker in a row joined by a space."""
    messages: list[str] = []
    speaker: object = None
    spelt = joined = 0
    for turn in turns:
        if turn is None:
            continue
        text = strip_spelt_ends(turn.text)
        spelt += text != turn.text.strip()
        if messages and turn.speaker is not None and turn.speaker == speaker:
            messages[-1] += f" {text}"
            joined += 1
        else:
            messages.append(text)
        speaker = turn.speaker
    if len(messages) < min_messages:
        raise ValueError(
            f"{where}: a conversation of a single turn (what one speaker says in a row is one); "
            f"give it an answer, or delete it"
        )
    return Conversation(name, tuple(messages), joined, spelt)


def _suffixes() -> str:
    *most, last = KINDS
    return f"{', '.join(most)} or {last}"
