"""Replies that come again and again: what answers every context answers none.

Seen only in a whole set of replies. Words that a reply took from its own context are blanked first,
so that a template is found whatever stands in its gaps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.judge.words import split_words
from parley.platform.maxims.text.exchange import Exchange
from parley.platform.maxims.text.sentences import find_content_words

MIN_ROWS = 20
"""In smaller sets a reply that is said twice means nothing."""
MIN_OTHERS = 2
"""Other contexts that must have got the same reply."""
LEAST_SHARE = 0.01
"""Of the contexts: stock replies to fewer of them are not looked for."""
USUAL_QUANTILE = 0.998
"""Of human replies: a reply to a larger share of contexts than that is suspicious."""
_GAP = "_"


def measure_repetition(
    rows: Sequence[Exchange], usual_share: float = LEAST_SHARE
) -> NDArray[np.float64]:
    """How likely each reply is a stock reply, float64 [N]: 1/2 at the usual share of contexts."""
    shares = measure_shares(rows)
    return shares / (shares + usual_share)


def find_usual_share(human: Sequence[Exchange]) -> float:
    """The share of contexts that a reply may be given to, by what people do, at least 1 %."""
    return max(LEAST_SHARE, float(np.quantile(measure_shares(human), USUAL_QUANTILE)))


def measure_shares(rows: Sequence[Exchange]) -> NDArray[np.float64]:
    """The share of other contexts that got the same reply, float64 [N]; 0 in small sets."""
    contexts = {row.context for row in rows}
    users: defaultdict[str, set[str]] = defaultdict(set)
    skeletons = [blank_context(row) for row in rows]
    for row, skeleton in zip(rows, skeletons, strict=True):
        users[skeleton].add(row.context)
    found = np.zeros(len(rows))
    if len(contexts) < MIN_ROWS:
        return found
    for place, skeleton in enumerate(skeletons):
        others = len(users[skeleton]) - 1
        if others >= MIN_OTHERS:
            found[place] = others / len(contexts)
    return found


def blank_context(row: Exchange) -> str:
    """The reply's words with a gap for every run of content words that the context has."""
    known = set(find_content_words(row.context))
    words: list[str] = []
    for word in split_words(row.response):
        shown = _GAP if word in known else word
        if shown != _GAP or words[-1:] != [_GAP]:
            words.append(shown)
    return " ".join(words)
