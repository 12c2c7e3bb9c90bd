"""Where a sentence should have ended: a linear model of the gap between two words.

Learned without labels: in clean turns the marks between sentences are taken away, and a logistic
regression on the words around each gap tells where they stood.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.features.hashed_regression import (
    Floats,
    fit_regression,
    hash_runs,
    make_salts,
)
from parley.platform.maxims.detector.features.parsed_response import hash_words
from parley.platform.maxims.detector.features.replaced_words import class_of
from parley.platform.maxims.text.sentences import split_sentences

BREAK_BITS = 16
MAX_TURNS = 12_000
BREAK_FEATURES = ("break", "break_2", "breaks")
_TOKEN = re.compile(r"[A-Za-z]+(?:['\u2019][A-Za-z]+)*|\d[\d,.]*\d|\d|[^\w\s]")
_SALTS = make_salts("gap", 8)


@dataclass(frozen=True)
class MissingEnds:
    """Log-odds that a sentence ends in a gap between two words without a mark."""

    weights: Floats
    """[2 ** BREAK_BITS]"""
    bias: Floats
    """[1]"""

    @classmethod
    def fit(cls, texts: Sequence[str], seed: int) -> MissingEnds:
        """Learn from clean turns."""
        order = np.random.default_rng(seed).permutation(len(texts))[:MAX_TURNS]
        slots, labels = [], []
        for index in order:
            sentences = [_TOKEN.findall(part) for part in split_sentences(texts[index])]
            bodies = [_without_end(tokens) for tokens in sentences]
            tokens = [token for body in bodies for token in body]
            ends = np.cumsum([len(body) for body in bodies])[:-1]
            if len(tokens) < 2:
                continue
            is_break = np.zeros(len(tokens) - 1, np.bool_)
            is_break[[end - 1 for end in ends if 0 < end < len(tokens)]] = True
            slots.append(_slots(tokens))
            labels.append(is_break)
        table, answers = np.concatenate(slots), np.concatenate(labels)
        if not answers.any():
            return cls(np.zeros(2**BREAK_BITS, np.float32), np.full(1, -5.0, np.float32))
        return cls(*fit_regression(table, answers, BREAK_BITS, seed))

    def measure(self, text: str) -> dict[str, float]:
        """The log-odds of the two likeliest gaps, and how many gaps are likely ends."""
        slots = _read(text)
        if not len(slots):
            return dict(zip(BREAK_FEATURES, (float("nan"), float("nan"), 0.0), strict=True))
        odds = self.weights[slots].sum(axis=1) + self.bias[0]
        ranked = np.sort(odds)[::-1]
        second = float(ranked[1]) if len(ranked) > 1 else float("nan")
        values = (float(ranked[0]), second, float((odds > 0.0).sum()))
        return dict(zip(BREAK_FEATURES, values, strict=True))


@lru_cache(maxsize=1 << 15)
def _read(text: str) -> NDArray[np.int64]:
    """Table rows of the gaps between two words, [G, 8]; kept, as all models ask for them."""
    tokens = _TOKEN.findall(text)
    gaps = [
        index
        for index in range(len(tokens) - 1)
        if tokens[index][0].isalnum() and tokens[index + 1][0].isalnum()
    ]
    return _slots(tokens)[gaps] if gaps else np.zeros((0, len(_SALTS)), np.int64)


def _without_end(tokens: Sequence[str]) -> list[str]:
    """The tokens of a sentence without the marks that end it."""
    end = len(tokens)
    while end and not tokens[end - 1][0].isalnum():
        end -= 1
    return list(tokens[:end])


def _slots(tokens: Sequence[str]) -> NDArray[np.int64]:
    """Table rows of what stands around every gap, [T - 1, 8]."""
    lowered = [token.lower() for token in tokens]
    framed = ["\x02", *lowered, "\x03", "\x03"]
    words, classes = hash_words(framed), hash_words(map(class_of, framed))
    cases = hash_words(
        ["I" if token == "I" else f"{token[:1].isupper()}{token.isupper()}" for token in tokens]
    )
    num = len(tokens) - 1

    def at(values: NDArray[np.uint64], offset: int) -> NDArray[np.uint64]:
        return values[1 + offset : 1 + offset + num]

    case = cases[1:]
    runs = (
        (at(words, 0), at(words, 1)),
        (at(classes, 0), at(classes, 1), case),
        (at(words, 1), case),
        (at(words, 0), case),
        (at(words, 1), at(words, 2), case),
        (at(classes, 1), at(classes, 2)),
        (at(words, -1), at(words, 0)),
        (case, cases[:-1]),
    )
    return hash_runs(_SALTS, runs, BREAK_BITS)
