"""Which rows belong to one conversation: connected components over what is said in them.

A split that cuts a conversation measures memory: its turns stand in many windows, and its responses
in several pairs. Rows without an id join the conversation that says the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from parley.platform.maxims.text.wording import is_long, likeness, split_turns

MAX_LINKED = 2
"""A greeting, or a rejected response, that is found in more conversations than this is stock: it
says nothing about where it comes from, and would join everything to everything."""


class Spoken(NamedTuple):
    """What a row says, and whose conversation it is where that is known."""

    conversation: str | None
    context: str
    chosen: str
    rejected: str


def group_conversations(rows: Sequence[Spoken]) -> list[int]:
    """The group of each row, [N], numbered from 0 by first appearance.

    Rows are joined by their conversation's id and by every identical turn or chosen response of six
    words or more. Then whole contexts, short chosen responses, and rejected responses of six words
    or more join, too, where no more than `MAX_LINKED` of the groups so far have them, until no such
    text is left: then equal rows with their groups' names for ids give the same groups again.
    """
    components = _Components(len(rows))
    components.join_sharing(_members(_strong_keys(row) for row in rows), len(rows))
    weak = _members(_weak_keys(row) for row in rows)
    while components.join_sharing(weak, MAX_LINKED):
        pass
    return components.numbers()


def _members(keys_of_rows: Iterable[Iterable[tuple[str, str]]]) -> list[list[int]]:
    """The rows that have a key in common, for every key of more than one row."""
    members: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row, keys in enumerate(keys_of_rows):
        for key in keys:
            members[key].append(row)
    return [rows for rows in members.values() if len(rows) > 1]


def _strong_keys(row: Spoken) -> Iterator[tuple[str, str]]:
    if row.conversation is not None:
        yield "conversation", row.conversation
    for utterance in (*split_turns(row.context), row.chosen):
        if is_long(utterance):
            yield "utterance", likeness(utterance)


def _weak_keys(row: Spoken) -> Iterator[tuple[str, str]]:
    yield "context", likeness(row.context)
    yield "chosen", likeness(row.chosen)
    if is_long(row.rejected):
        yield "rejected", likeness(row.rejected)


class _Components:
    """Disjoint sets of rows (union by size, path halving: Tarjan and van Leeuwen 1984)."""

    def __init__(self, num_rows: int) -> None:
        self.parent = list(range(num_rows))
        self.size = [1] * num_rows

    def find(self, row: int) -> int:
        """The row that stands for the set of `row`."""
        parent = self.parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def join(self, first: int, second: int) -> None:
        """Make one set of two."""
        large, small = self.find(first), self.find(second)
        if large == small:
            return
        if self.size[large] < self.size[small]:
            large, small = small, large
        self.parent[small] = large
        self.size[large] += self.size[small]

    def join_sharing(self, members: Iterable[list[int]], most: int) -> bool:
        """Join the rows of each list if they are in at most `most` sets; whether any were apart.

        The sets are counted before any are joined, so that the order of the lists is of no import.
        """
        sets = [sorted({self.find(row) for row in rows}) for rows in members]
        linked = [roots for roots in sets if 1 < len(roots) <= most]
        for roots in linked:
            for root in roots[1:]:
                self.join(roots[0], root)
        return bool(linked)

    def numbers(self) -> list[int]:
        """The number of each row's set, by first appearance."""
        numbers: dict[int, int] = {}
        return [numbers.setdefault(self.find(row), len(numbers)) for row in range(len(self.parent))]
