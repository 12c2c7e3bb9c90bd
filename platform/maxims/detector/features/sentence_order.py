"""In which order people say the sentences of a turn: a linear model of two neighbours.

Learned without labels from turns of people: of two neighbouring sentences, which comes first? The
features of an order are those of the pair minus those of the swapped pair, so that both orders have
opposite log-odds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.features.parsed_response import hash_words, slots_of
from parley.platform.maxims.text.sentences import (
    FUNCTION_WORDS,
    find_content_words,
    find_words,
    split_sentences,
)

ORDER_BITS = 16
MAX_PERMUTED = 5
"""Turns of more sentences are compared by neighbours alone."""
Floats = NDArray[np.float32]
ORDER_FEATURES = ("order_sum", "order_worst", "order_gain", "order_first", "order_last",
                  "order_all_pairs")  # fmt: skip


@dataclass(frozen=True)
class SentenceOrder:
    """Log-odds that one sentence of a turn stands before another."""

    weights: Floats
    """[2 ** ORDER_BITS]"""

    @classmethod
    def fit(cls, talks: Sequence[Sequence[str]], seed: int) -> SentenceOrder:
        """Learn from conversations, each a list of turns."""
        from scipy import sparse
        from sklearn.linear_model import LogisticRegression

        rows: list[NDArray[np.int64]] = []
        signs: list[NDArray[np.float32]] = []
        for talk in talks:
            for index, turn in enumerate(talk):
                parts = split_sentences(turn)
                if not 2 <= len(parts) <= 8:
                    continue
                last = frozenset(find_content_words(talk[index - 1]) if index else ())
                for place, (one, other) in enumerate(itertools.pairwise(parts)):
                    slots, sign = _pair_features(one, other, last, place == 0, len(parts))
                    rows.append(slots)
                    signs.append(sign)
        if not rows:
            return cls(np.zeros(2**ORDER_BITS, np.float32))
        flip = np.where(np.arange(len(rows)) % 2 == 0, 1.0, -1.0).astype(np.float32)
        values = np.concatenate([sign * f for sign, f in zip(signs, flip, strict=True)])
        ends = np.cumsum([0, *map(len, rows)])
        matrix = sparse.csr_matrix((values, np.concatenate(rows), ends), (len(rows), 2**ORDER_BITS))
        model = LogisticRegression(
            C=0.2, solver="liblinear", fit_intercept=False, random_state=seed
        )
        model.fit(matrix, flip > 0)
        return cls(model.coef_[0].astype(np.float32))

    def measure(self, sentences: Sequence[str], last_topic: Sequence[str]) -> dict[str, float]:
        """How natural the order of a response's sentences is; NaN for a single one."""
        num = len(sentences)
        if num < 2:
            return dict.fromkeys(ORDER_FEATURES, math.nan)
        size = min(num, MAX_PERMUTED)
        table = np.zeros((size, size))  # log-odds that row stands before column
        for one, other, slots, sign in _read_pairs(tuple(sentences), frozenset(last_topic)):
            table[one, other] = float(self.weights[slots] @ sign)
            table[other, one] = -table[one, other]
        neighbours = [table[place, place + 1] for place in range(size - 1)]
        upper = table[np.triu_indices(size, 1)]
        return {
            "order_sum": float(sum(neighbours)),
            "order_worst": float(min(neighbours)),
            "order_gain": _best_sum(table) - float(upper.sum()),
            "order_first": float(table[0, 1:].min()),
            "order_last": float(table[:-1, -1].min()),
            "order_all_pairs": float(upper.mean()),
        }


@lru_cache(maxsize=1 << 15)
def _read_pairs(
    sentences: tuple[str, ...], last_topic: frozenset[str]
) -> list[tuple[int, int, NDArray[np.int64], Floats]]:
    """The features of every pair of the first sentences; kept, as all models ask for them."""
    places = range(min(len(sentences), MAX_PERMUTED))
    return [
        (
            one,
            other,
            *_pair_features(sentences[one], sentences[other], last_topic, one == 0, len(sentences)),
        )
        for one, other in itertools.combinations(places, 2)
    ]


def _best_sum(table: NDArray[np.float64]) -> float:
    """The largest sum over pairs that any order of the sentences has."""
    indices = range(len(table))
    return max(
        sum(table[a, b] for a, b in itertools.combinations(order, 2))
        for order in itertools.permutations(indices)
    )


def _pair_features(
    one: str, other: str, last_topic: frozenset[str], is_start: bool, num: int
) -> tuple[NDArray[np.int64], Floats]:
    """Table rows and signs of the order (one, other): what it has and the swapped one has not."""
    ahead, behind = _names(one, last_topic), _names(other, last_topic)
    size = "2" if num == 2 else "+"
    names = [f"a {name}" for name in ahead] + [f"b {name}" for name in behind]
    swapped = [f"a {name}" for name in behind] + [f"b {name}" for name in ahead]
    joint = [f"{ahead[0]}|{behind[0]}", f"{ahead[1]}|{behind[0]}", f"{ahead[2]}|{behind[0]}"]
    joint_swapped = [
        f"{behind[0]}|{ahead[0]}", f"{behind[1]}|{ahead[0]}", f"{behind[2]}|{ahead[0]}"
    ]  # fmt: skip
    if is_start:
        names += [f"s{size} {name}" for name in ahead[:6]]
        swapped += [f"s{size} {name}" for name in behind[:6]]
    plus, minus = names + joint, swapped + joint_swapped
    slots = slots_of(hash_words(plus + minus), ORDER_BITS)
    signs = np.ones(len(slots), np.float32)
    signs[len(plus) :] = -1.0
    return slots, signs


def _names(sentence: str, last_topic: frozenset[str]) -> list[str]:
    """What is looked at in a sentence: how it begins and ends, and whether it answers."""
    words = [word.lower() for word in find_words(sentence)] or [""]
    topic = set(find_content_words(sentence))
    length = min(len(words) // 4, 4)
    opening = [word if word in FUNCTION_WORDS else "~" for word in words[:3]]
    return [
        f"1 {words[0]}",
        f"mark {sentence[-1:]}",
        f"last {words[-1]}",
        f"2 {' '.join(words[:2])}",
        f"3 {' '.join(opening)}",
        f"size {length}",
        f"answers {bool(topic & last_topic)} {bool(topic)}",
        *sorted({f"w {word}" for word in words if word in FUNCTION_WORDS}),
        f"cap {sentence[:1].isupper()}",
    ]
