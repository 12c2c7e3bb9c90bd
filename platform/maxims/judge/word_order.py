"""How much the order of a reply's words says: word salad has none.

A trigram model of the conversations (modified Kneser-Ney) is asked twice: for the reply as it
stands and for the same words in random orders. The difference does not depend on how rare the words
are, which plain surprise does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parley.platform.language.dialogue_tokens import TokenDialogues
from parley.platform.language.ngrams import KneserNey
from parley.platform.maxims.judge.words import split_words

ORDER = 3
MIN_COUNT = 20
"""Rarer words share a class with others of the same ending: order is mostly a matter of grammar."""
MAX_WORDS = 80
NUM_ORDERS = 8
"""Random orders that the given one is compared with."""
CHUNK = 256
"""Replies that are measured at once."""
_END, _UNKNOWN = 0, 1

Floats = NDArray[np.float64]


class Surprise(NamedTuple):
    """What a language model of words says of N replies."""

    order_gain: Floats
    """[N]: nats a word that the given order saves against random ones; NaN below three words."""
    ending: Floats
    """[N]: nats of ending where the reply ends; NaN where it has no word."""


class TrigramOrder:
    """A trigram model of replies.

    Args:
        vocabulary: classes of words, see `classify`; their ids count from 2.
        tokens: int32 [T], class ids of the replies that it learns from, each between two zeros.
        offsets: int64 [replies + 1], where each of them begins.
    """

    def __init__(
        self, vocabulary: Sequence[str], tokens: NDArray[np.int32], offsets: NDArray[np.int64]
    ) -> None:
        self.vocabulary = list(vocabulary)
        self.tokens, self.offsets = tokens, offsets
        self._ids = {word: number for number, word in enumerate(self.vocabulary, start=2)}
        self._model = KneserNey(TokenDialogues(tokens, offsets, _END), ORDER, len(vocabulary) + 2)
        self._keys = np.random.default_rng(0).random((NUM_ORDERS, MAX_WORDS))

    @classmethod
    def learn(cls, replies: Iterable[str]) -> TrigramOrder:
        """The model of these replies."""
        texts = [split_words(reply)[:MAX_WORDS] for reply in replies]
        counts = Counter(word for text in texts for word in text)
        frequent = {word for word, count in counts.items() if count >= MIN_COUNT}
        classes = Counter(classify(word, frequent) for text in texts for word in text)
        vocabulary = sorted(name for name, count in classes.items() if count > 1)
        ids = {word: number for number, word in enumerate(vocabulary, start=2)}
        rows = [[ids.get(classify(w, frequent), _UNKNOWN) for w in text] for text in texts]
        offsets = np.concatenate([[0], np.cumsum([len(row) + 2 for row in rows])])
        tokens = np.array([number for row in rows for number in (_END, *row, _END)], np.int32)
        return cls(vocabulary, tokens, offsets.astype(np.int64))

    def measure(self, replies: Sequence[str]) -> Surprise:
        """Order gain and surprise at the end of each reply."""
        gains = np.full(len(replies), np.nan)
        endings = np.full(len(replies), np.nan)
        rows = [self._encode(reply) for reply in replies]
        for start in range(0, len(rows), CHUNK):
            self._measure(rows, range(start, min(start + CHUNK, len(rows))), gains, endings)
        return Surprise(gains, endings)

    def _encode(self, reply: str) -> NDArray[np.int64]:
        words = split_words(reply)[:MAX_WORDS]
        return np.array([self._ids.get(classify(w, self._ids), _UNKNOWN) for w in words], np.int64)

    def _measure(
        self, rows: list[NDArray[np.int64]], places: range, gains: Floats, endings: Floats
    ) -> None:
        usable = [place for place in places if len(rows[place])]
        if not usable:
            return
        grams = [self._list_grams(rows[place]).reshape(-1, ORDER) for place in usable]
        nats = -np.log(self._model.probabilities(np.concatenate(grams)))
        parts = np.split(nats, np.cumsum([len(gram) for gram in grams])[:-1])
        for place, part in zip(usable, parts, strict=True):
            by_order = part.reshape(1 + NUM_ORDERS, -1)
            endings[place] = by_order[0, -1]
            if len(rows[place]) >= ORDER:
                gains[place] = by_order[1:].mean() - by_order[0].mean()

    def _list_grams(self, row: NDArray[np.int64]) -> NDArray[np.int64]:
        """[1 + NUM_ORDERS, words + 1, ORDER]: every word and the end, behind what precedes it."""
        orders = np.argsort(self._keys[:, : len(row)], axis=1)
        said = np.concatenate([row[None], row[orders]])
        padded = np.pad(said, ((0, 0), (ORDER - 1, 1)), constant_values=_END)
        return np.lib.stride_tricks.sliding_window_view(padded, ORDER, axis=1)


def classify(word: str, known: Container[str]) -> str:
    """The word itself where it is known, else the class that it shares with words like it."""
    if word in known:
        return word
    if word[0].isdigit():
        return "#number"
    return f"#{word[-2:]}" if word[0].isalpha() else "#mark"
