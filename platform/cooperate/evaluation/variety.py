"""How varied replies are, with intervals: shares of n-grams and of replies that are new or not.

These are no means over replies, and shrink where a bootstrap repeats some: their spread is a
grouped jackknife's (Efron and Tibshirani 1993, chapter 11).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from parley.platform.cooperate.evaluation.preference_accuracy import Rate
from parley.platform.distort.viewing.attractors import (
    REPETITION_N,
    Reply,
    distinct_n,
    ngrams,
    repetition_rate,
)
from parley.platform.report.intervals import share_interval

NUM_GROUPS = 20

Unit = Sequence[Reply]
"""The replies of one dialogue or conversation: units are independent, their replies are not."""


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
