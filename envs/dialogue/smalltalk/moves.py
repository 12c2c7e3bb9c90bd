"""What can be said and what may follow it: the types that the topics are tables of.

Every text is a template (see `templates`), written in lower case, of what one speaker says.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Templates = tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question about a fact; its answer tells the fact, a remark comes back to it."""

    fact: str
    """The slot that it is about."""
    asks: Templates
    answers: Templates
    remarks: Templates
    """Of the one who asked, on the answer: `{you.fact}` is known now."""


@dataclass(frozen=True)
class YesNo:
    """A question that is answered by yes or no, and why."""

    asks: Templates
    yes: Templates
    no: Templates
    after_yes: Templates
    """Remarks of the one who asked."""
    after_no: Templates


@dataclass(frozen=True)
class Claim:
    """An opinion, which the other side shares or not."""

    says: Templates
    agrees: Templates
    disagrees: Templates


@dataclass(frozen=True)
class Story:
    """Something that happened: it is told, the other side asks, the teller answers."""

    tells: Templates
    asks: Templates
    answers: Templates


Move = Question | YesNo | Claim | Story


@dataclass(frozen=True)
class Topic:
    """What belongs together."""

    name: str
    moves: tuple[Move, ...]
    recalls: dict[str, Templates] = field(default_factory=dict)
    """Slot that the other has told -> how a speaker comes back to it later."""


def opening_lines(move: Move) -> Templates:
    """The templates by which a speaker begins a move."""
    if isinstance(move, Claim):
        return move.says
    return move.tells if isinstance(move, Story) else move.asks


def all_lines(topic: Topic) -> Templates:
    """Every template of a topic."""
    lines: list[str] = [line for templates in topic.recalls.values() for line in templates]
    for move in topic.moves:
        if isinstance(move, Question):
            lines += move.asks + move.answers + move.remarks
        elif isinstance(move, YesNo):
            lines += move.asks + move.yes + move.no + move.after_yes + move.after_no
        elif isinstance(move, Claim):
            lines += move.says + move.agrees + move.disagrees
        else:
            lines += move.tells + move.asks + move.answers
    return tuple(lines)
