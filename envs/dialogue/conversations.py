"""Conversations between people, and their split into parts to learn from and to measure on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


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


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
