"""How varied replies are, with intervals: shares of n-grams and of replies that are new or not.

These are no means over replies, and shrink where a bootstrap repeats some: their spread is a
grouped jackknife's (Efron and Tibshirani 1993, chapter 11).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from parley.platform.report.intervals import Rate, share_interval

NUM_GROUPS = 20
REPETITION_N = 4
"""Length of the n-grams that count as a repetition within a reply."""

Reply = Sequence[int]
"""Token ids of one reply, without the token that ends it."""

Unit = Sequence[Reply]
"""The replies of one dialogue or conversation: units are independent, their replies are not."""


def distinct_n(replies: Sequence[Reply], n: int) -> float:
    """Distinct n-grams of tokens over all n-grams of tokens (Li et al. 2016, arXiv:1510.03055).

    N-grams do not reach over the end of a reply. The figure falls as the sample grows, since there
    are ever fewer new n-grams: compare only samples of about equal size. NaN where no reply has n
    tokens.
    """
    grams = [gram for reply in replies for gram in ngrams(reply, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def repetition_rate(replies: Sequence[Reply], n: int = REPETITION_N) -> float:
    """The share of n-grams of tokens that stood earlier in the same reply.

    This is seq-rep-n of Welleck et al. 2020 (arXiv:1908.04319), over the n-grams of all replies
    together rather than averaged over replies. Replies of fewer than n tokens do not count; NaN
    where all are.
    """
    total = sum(max(0, len(reply) - n + 1) for reply in replies)
    distinct = sum(len(set(ngrams(reply, n))) for reply in replies)
    return 1 - distinct / total if total else math.nan


def ngrams(sequence: Sequence[int] | Sequence[str], n: int) -> list[tuple[int | str, ...]]:
    """All runs of `n` neighbours, in order."""
    return [tuple(sequence[start : start + n]) for start in range(len(sequence) - n + 1)]


def group_units(replies: Sequence[Reply], names: Sequence[str]) -> list[list[Reply]]:
    """The replies by the name of their unit."""
    units: dict[str, list[Reply]] = {}
    for reply, name in zip(replies, names, strict=True):
        units.setdefault(name, []).append(reply)
    return list(units.values())


def distinct_rate(units: Sequence[Unit], n: int) -> Rate:
    """`distinct_n` of all replies; of as many n-grams."""
    return _jackknife(units, lambda replies: distinct_n(replies, n), _count_ngrams(units, n))


def looping_rate(units: Sequence[Unit], n: int = REPETITION_N) -> Rate:
    """`repetition_rate` of all replies; of as many n-grams."""
    return _jackknife(units, lambda replies: repetition_rate(replies, n), _count_ngrams(units, n))


def repeated_rate(units: Sequence[Unit]) -> Rate:
    """The share of the replies that were given before, token for token."""
    num_replies = sum(map(len, units))
    return _jackknife(
        units, lambda given: 1.0 - len(set(map(tuple, given))) / len(given), num_replies
    )


def _count_ngrams(units: Sequence[Unit], n: int) -> int:
    return sum(len(ngrams(reply, n)) for unit in units for reply in unit)


def _jackknife(
    units: Sequence[Unit], share: Callable[[list[Reply]], float], num_trials: int
) -> Rate:
    """A share of all replies, its interval by leaving out groups of units."""
    value = share(list(chain.from_iterable(units)))
    if not math.isfinite(value):
        return Rate(math.nan, (math.nan, math.nan), 0)
    num_groups = min(NUM_GROUPS, len(units))
    without = np.array(
        [
            share(
                list(
                    chain.from_iterable(
                        unit for i, unit in enumerate(units) if i % num_groups != group
                    )
                )
            )
            for group in range(num_groups if num_groups > 1 else 0)
        ]
    )
    known = without[np.isfinite(without)]
    spread = np.zeros(1)
    if len(known) > 1:
        spread = (known - known.mean()) * math.sqrt((len(known) - 1) / len(known))
    return Rate(value, share_interval(value, spread, num_trials, len(units)), num_trials)
