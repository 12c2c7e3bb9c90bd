"""The questions that a detector asks: one for each known kind of violation, one for each maxim.

Jargon and shuffled sentences both violate manner and have nothing else in common: one classifier
for both serves neither. A maxim counts as violated where one of its heads says so. The heads of
whole maxims know the rows whose kind nobody names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.pairs.injectors import INJECTORS
from parley.platform.maxims.text.exchange import MAXIMS

LEFT_OUT = -1
"""The target of a row that says nothing about a head."""


class Head(NamedTuple):
    """One yes-or-no question about a response."""

    name: str
    maxim: int
    """Column of `MAXIMS` that it speaks for."""
    kinds: frozenset[str]
    """Kinds of violation that are a yes; empty: all of the maxim."""


def _kind_heads() -> list[Head]:
    """A head for each injector of a single maxim; its kinds are those that begin alike."""
    parts = {
        "multi_quality_quantity": ("quality_unsupported", "quantity_over"),
        "multi_quantity_manner": ("manner_ambiguous", "quantity_over"),
    }
    return [
        Head(
            name,
            MAXIMS.index(injector.maxims[0]),
            frozenset({name, *(multi for multi, names in parts.items() if name in names)}),
        )
        for name, injector in INJECTORS.items()
        if len(injector.maxims) == 1
    ]


HEADS: tuple[Head, ...] = (
    *_kind_heads(),
    *(Head(maxim, column, frozenset()) for column, maxim in enumerate(MAXIMS)),
)
"""By the order of every array of heads."""


def head_targets(kinds: Sequence[str], labels: NDArray[np.bool_]) -> NDArray[np.int8]:
    """What each row says to each head: 1 yes, 0 no, `LEFT_OUT` nothing, [N, H].

    A row that violates the head's maxim in another way is left out: it is neither.

    Args:
        kinds: [N] kinds of violation.
        labels: [N, 4].
    """
    targets = np.zeros((len(kinds), len(HEADS)), np.int8)
    for column, head in enumerate(HEADS):
        violated = labels[:, head.maxim]
        if not head.kinds:
            targets[:, column] = violated
            continue
        named = np.array([kind in head.kinds for kind in kinds], bool)
        targets[violated & ~named, column] = LEFT_OUT
        targets[named, column] = 1
    return targets


def join_heads(log_odds: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each maxim's largest head, as a probability that is 1/2 at the head's offset, [N, 4].

    Args:
        log_odds: [N, H].
        offsets: [H], or [N, H], log-odds from which a head says yes.
    """
    shifted = log_odds - offsets
    largest = [
        shifted[:, [head.maxim == column for head in HEADS]].max(axis=1)
        for column in range(len(MAXIMS))
    ]
    probabilities: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.stack(largest, axis=1)))
    return probabilities
