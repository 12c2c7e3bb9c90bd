"""Sentences with choices and slots: `[hi|hello] {name}[, how are you|]?`.

`[a|b|]` is one of its alternatives, which may be empty and may hold choices and slots themselves.
`{slot}` is a fact of the speaker, `{you.slot}` one of the listener; whose they are, and what they
say, is asked of the function that fills them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from random import Random

Fill = Callable[[str], str]
"""From what stands between braces to its text."""

_MARKS = re.compile(r"[\[\]|]|\{[^{}]*\}")


class Slot(str):
    """The name between braces."""


Piece = str | tuple["Piece", ...] | list["Piece"]
"""Text or `Slot`, a sequence (tuple), or a choice between alternatives (list)."""


@cache
def parse_template(text: str) -> Piece:
    """The tree of a template.

    Raises:
        ValueError: a bracket is not closed or not opened.
    """
    stack: list[list[list[Piece]]] = [[[]]]
    position = 0
    for match in _MARKS.finditer(text):
        if match.start() > position:
            stack[-1][-1].append(text[position : match.start()])
        position = match.end()
        mark = match.group()
        if mark == "[":
            stack.append([[]])
        elif mark == "|" and len(stack) > 1:
            stack[-1].append([])
        elif mark == "]" and len(stack) > 1:
            alternatives: list[Piece] = [_sequence(pieces) for pieces in stack.pop()]
            stack[-1][-1].append(alternatives)
        elif mark.startswith("{"):
            stack[-1][-1].append(Slot(mark[1:-1]))
        else:
            raise ValueError(f"template {text!r}: {mark!r} at {match.start()} outside [ ]")
    if len(stack) > 1:
        raise ValueError(f"template {text!r}: a [ is not closed; write ] after its alternatives")
    if position < len(text):
        stack[-1][-1].append(text[position:])
    return _sequence(stack[0][0])


def _sequence(pieces: list[Piece]) -> Piece:
    return pieces[0] if len(pieces) == 1 else tuple(pieces)


def expand(template: str, random: Random, fill: Fill) -> str:
    """One sentence of a template: choices drawn evenly, slots filled from left to right."""
    return _expand(parse_template(template), random, fill)


def _expand(piece: Piece, random: Random, fill: Fill) -> str:
    if isinstance(piece, Slot):
        return fill(piece)
    if isinstance(piece, str):
        return piece
    if isinstance(piece, list):
        return _expand(piece[int(random.random() * len(piece))], random, fill)
    return "".join([_expand(part, random, fill) for part in piece])


@cache
def slots_of(template: str) -> frozenset[str]:
    """The names of all slots of a template, as they stand between braces."""
    return frozenset(re.findall(r"\{([^{}]*)\}", template))
