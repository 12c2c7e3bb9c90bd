"""Conversations between people, and their split into parts to learn from and to measure on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class Conversation:
    """Turns that alternate; who said which is not kept."""

    id: str
    """Unlike that of every other conversation."""
    messages: tuple[str, ...]
    """At least two, none blank."""
    joined: int = 0
    """Turns that were joined to the one before, of the same speaker."""
    spelt_ends: int = 0
    """Turns at whose end an end token was spelt; it was left out."""
    whole: str = ""
    """The conversation that this is a part of, where it came in parts; empty: it is whole."""

    @property
    def origin(self) -> str:
        """The id that all parts of one conversation have in common."""
        return self.whole or self.id


@dataclass(frozen=True)
class Split:
    """Conversations in three parts without a conversation in common."""

    training: list[Conversation]
    selection: list[Conversation]
    """By which a checkpoint is chosen."""
    heldout: list[Conversation]
    """On which the chosen one is measured."""


def number_conversations(dialogues: Sequence[Sequence[str]]) -> list[Conversation]:
    """Dialogues without ids, numbered."""
    return [Conversation(str(number), tuple(talk)) for number, talk in enumerate(dialogues)]


def split_conversations(
    conversations: Iterable[Conversation], holdout: float, selection: float
) -> Split:
    """Split by conversation: who stands where depends on the ids alone, by their hash.

    Args:
        conversations: in any order; the sides are in the order of the hash. Parts of one
            conversation stay together.
        holdout, selection: shares in (0, 1), of at least one conversation each; a holdout of 0
            gives none.

    Raises:
        ValueError: a side would be empty.
    """
    parts: defaultdict[str, list[Conversation]] = defaultdict(list)
    for conversation in conversations:
        parts[conversation.origin].append(conversation)
    ordered = [parts[name] for name in sorted(parts, key=_hash)]
    num_heldout = max(1, round(holdout * len(ordered))) if holdout else 0
    num_selection = max(1, round(selection * len(ordered)))
    first_training = num_heldout + num_selection
    if first_training >= len(ordered):
        raise ValueError(
            f"{len(ordered)} conversations leave nothing to train on besides {num_heldout} "
            f"held-out ones and {num_selection} to select by; give more, or lower the shares"
        )
    return Split(
        training=list(chain.from_iterable(ordered[first_training:])),
        selection=list(chain.from_iterable(ordered[num_heldout:first_training])),
        heldout=list(chain.from_iterable(ordered[:num_heldout])),
    )


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
