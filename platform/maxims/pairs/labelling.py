"""The maxims of preference pairs without a label, learned from the repairs next to them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from parley.platform.maxims.pairs.rows import UNKNOWN, ParsedRow
from parley.platform.maxims.text.wording import likeness

Key = Callable[[ParsedRow], tuple[str, ...]]

RULES: dict[str, Key] = {
    "same context and rejected": lambda row: (likeness(row.context), likeness(row.rejected)),
    "same chosen and rejected": lambda row: (likeness(row.chosen), likeness(row.rejected)),
    "same rejected (stock sentence)": lambda row: (likeness(row.rejected),),
}
"""What an unlabelled and a labelled row must have in common; the first rule that fits counts."""


def label_rows(rows: Sequence[ParsedRow]) -> tuple[list[ParsedRow], dict[str, int]]:
    """The rows with the maxims that labelled rows give, and how many each rule labelled.

    A rule labels only where all labelled rows that it compares with agree.
    """
    known = {name: _labels(rows, key) for name, key in RULES.items()}
    counts: Counter[str] = Counter(dict.fromkeys(RULES, 0))
    labelled = []
    for row in rows:
        if row.maxim == UNKNOWN:
            for name, key in RULES.items():
                maxims = known[name].get(key(row), set())
                if len(maxims) == 1:
                    row = replace(row, maxim=next(iter(maxims)))
                    counts[name] += 1
                    break
        labelled.append(row)
    return labelled, dict(counts)


def _labels(rows: Sequence[ParsedRow], key: Key) -> dict[tuple[str, ...], set[str]]:
    labels: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in rows:
        if row.maxim != UNKNOWN:
            labels[key(row)].add(row.maxim)
    return labels
