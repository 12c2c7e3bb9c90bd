"""The texts that evidence pointers stand for: `FS1` becomes what the speaker had read.

Two forms of a JSON object are read: conversation -> pointer -> text, and Topical-Chat's reading
sets (Gopalakrishnan et al. 2019, Interspeech): conversation -> `agent_1`, `agent_2`, `article` ->
pointer -> text or an object that holds texts (`fun_facts`, `summarized_wiki_lead_section`, ...).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from parley.platform.maxims.pairs.reading import DataFileError, read_object
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.maxims.text.wording import SPEAKER

POINTER = re.compile(r"\b(?:FS|AS)\d+\b")
"""Factual section and article section of Topical-Chat."""
AGENTS = ("agent_1", "agent_2")
SHARED_SECTION = "article"
TEXT_KEYS = ("shortened_wiki_lead_section", "summarized_wiki_lead_section", "fun_facts")

ReadingSets = dict[str, dict[str, dict[str, str]]]
"""Conversation -> reader (`""`: both) -> pointer -> text."""


def load_reading_sets(path: Path) -> ReadingSets:
    """The reading sets of a file.

    Raises:
        DataFileError: the file cannot be read, or has neither form; the message says where.
    """
    value = read_object(path)
    if not isinstance(value, Mapping):
        raise DataFileError(f"{path}: not an object of conversation -> pointer -> text")
    return {name: _read_conversation(path, name, sections) for name, sections in value.items()}


def resolve_evidence(evidence: str, context: str, readers: Mapping[str, Mapping[str, str]]) -> str:
    """`evidence` with the texts of its pointers, where the responding speaker's set has them."""
    reader = responder(context)
    order = (reader, "", *(agent for agent in AGENTS if agent != reader))

    def text_of(pointer: re.Match[str]) -> str:
        found = (readers.get(name, {}).get(pointer[0]) for name in order)
        return next((text for text in found if text), pointer[0])

    return normalise_space(POINTER.sub(text_of, evidence))


def responder(context: str) -> str:
    """The agent that speaks next: the one that did not speak last; empty if unknown."""
    speakers = SPEAKER.findall(context)
    last = speakers[-1].strip("[]:") if speakers else ""
    return next((agent for agent in AGENTS if agent != last), "") if last in AGENTS else ""


def count_pointers(evidence: str) -> int:
    """Pointers in a text."""
    return len(POINTER.findall(evidence))


def _read_conversation(path: Path, name: str, sections: object) -> dict[str, dict[str, str]]:
    if not isinstance(sections, Mapping):
        raise DataFileError(f"{path}, {name}: not an object of pointer -> text")
    readers: dict[str, dict[str, str]] = {"": {}}
    for key, value in sections.items():
        if POINTER.fullmatch(key):
            readers[""][key] = _read_text(path, f"{name}.{key}", value)
        elif (key in AGENTS or key == SHARED_SECTION) and isinstance(value, Mapping):
            texts = readers.setdefault("" if key == SHARED_SECTION else key, {})
            for pointer, text in value.items():
                if POINTER.fullmatch(pointer):
                    texts[pointer] = _read_text(path, f"{name}.{key}.{pointer}", text)
    return readers


def _read_text(path: Path, place: str, value: object) -> str:
    """A text, a list of texts, or an object with some of `TEXT_KEYS`; squeezed."""
    if isinstance(value, Mapping):
        value = [value[key] for key in TEXT_KEYS if key in value]
    parts = value if isinstance(value, list) else [value]
    texts: list[str] = []
    for part in parts:
        for text in part if isinstance(part, list) else [part]:
            if not isinstance(text, str):
                raise DataFileError(f"{path}, {place}: neither text nor a list of texts")
            texts.append(text)
    return normalise_space(" ".join(texts))
