"""Words that do not fit where they stand: a linear model that tells real words from replaced ones.

Learned without labels: in clean turns some words are replaced by pronouns, common words or other
nouns, and a logistic regression on the neighbourhood tells which ones (the idea of ELECTRA, Clark
et al. 2020, without the network). Rare words are known by their endings alone, so that new ones can
be judged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.features.hashed_regression import (
    Floats,
    fit_regression,
    hash_runs,
    make_salts,
)
from parley.platform.maxims.detector.features.parsed_response import hash_words
from parley.platform.maxims.text.sentences import FUNCTION_WORDS

MISFIT_BITS = 17
MAX_TURNS = 12_000
MISFIT_FEATURES = ("misfit", "misfit_2", "misfit_3", "misfit_mean", "misfit_pronoun",
                   "misfit_pronoun_2", "misfit_content", "misfit_content_2")  # fmt: skip
REPLACED_SHARE = 0.25
PRONOUNS = ("it", "they", "this", "that", "these", "those", "them", "he", "such", "its")
COMMON_WORDS = tuple(sorted(FUNCTION_WORDS))
"""What takes the place of a noun, besides other nouns."""
_PRONOUN_SET = frozenset(PRONOUNS)
_TOKEN = re.compile(r"[a-z]+(?:['\u2019][a-z]+)*|\d[\d,.]*\d|\d|[^\w\s]")
_SALTS = make_salts("salt", 9)


@dataclass(frozen=True)
class ReplacedWords:
    """How likely each word of a text is a replacement."""

    weights: Floats
    """[2 ** MISFIT_BITS]"""
    bias: Floats
    """[1]"""

    @classmethod
    def fit(cls, texts: Sequence[str], seed: int) -> ReplacedWords:
        """Learn from clean turns."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(texts))[:MAX_TURNS]
        token_lists = [_TOKEN.findall(texts[index].lower()) for index in order]
        bank = _word_bank(token_lists)
        slots, labels = [], []
        for tokens in token_lists:
            if len(tokens) < 3:
                continue
            changed, hit = _replace_words(tokens, bank, rng)
            words = np.array([token[0].isalpha() for token in changed])
            slots.append(_slots(changed)[words])
            labels.append(hit[words])
        table, answers = np.concatenate(slots), np.concatenate(labels)
        return cls(*fit_regression(table, answers, MISFIT_BITS, seed))

    def measure(self, text: str) -> dict[str, float]:
        """The log-odds of the words that fit worst, of pronouns and of others apart."""
        slots, is_pronoun, is_content = _read(text)
        if not len(slots):
            return dict.fromkeys(MISFIT_FEATURES, float("nan"))
        odds = self.weights[slots].sum(axis=1) + self.bias[0]
        pronouns, contents = _largest(odds[is_pronoun], 2), _largest(odds[is_content], 2)
        first, second, third = _largest(odds, 3)
        values = (first, second, third, float(odds.mean()), *pronouns, *contents)
        return dict(zip(MISFIT_FEATURES, values, strict=True))


@lru_cache(maxsize=1 << 15)
def _read(text: str) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Table rows of the words of a text [W, 9], and which are pronouns and content words [W].

    The same for all models of a detector, hence kept.
    """
    tokens = _TOKEN.findall(text.lower())
    picks = [index for index, token in enumerate(tokens) if token[0].isalpha()]
    words = [tokens[index] for index in picks]
    return (
        _slots(tokens)[picks],
        np.array([word in _PRONOUN_SET for word in words], np.bool_),
        np.array([word not in FUNCTION_WORDS for word in words], np.bool_),
    )


def _largest(values: NDArray[Any], num: int) -> list[float]:
    """The largest values, padded by NaN."""
    found = np.sort(values)[::-1][:num].tolist()
    return found + [float("nan")] * (num - len(found))


def _word_bank(token_lists: Sequence[Sequence[str]]) -> list[str]:
    """Content words as often as they occur, for replacements."""
    counts = Counter(token for tokens in token_lists for token in tokens)
    bank = [
        word
        for word, count in counts.items()
        if word[0].isalpha() and word not in FUNCTION_WORDS
        for _ in range(min(count, 5))
    ]
    return bank or ["thing"]


def _replace_words(
    tokens: Sequence[str], bank: Sequence[str], rng: np.random.Generator
) -> tuple[list[str], NDArray[np.bool_]]:
    """The tokens with some words replaced, and which ones, [T]."""
    changed, hit = list(tokens), np.zeros(len(tokens), np.bool_)
    chances = rng.random((len(tokens), 2))
    for index, token in enumerate(tokens):
        if not token[0].isalpha() or chances[index, 0] >= REPLACED_SHARE:
            continue
        is_content = token not in FUNCTION_WORDS
        if is_content and chances[index, 1] < 0.3:
            new = PRONOUNS[int(rng.integers(len(PRONOUNS)))]
        elif is_content and chances[index, 1] < 0.6:
            new = COMMON_WORDS[int(rng.integers(len(COMMON_WORDS)))]
        elif is_content or chances[index, 1] < 0.3:
            new = bank[int(rng.integers(len(bank)))]
        else:
            continue
        changed[index], hit[index] = new, new != token
    return changed, hit


def _slots(tokens: Sequence[str]) -> NDArray[np.int64]:
    """Table rows of the neighbourhood of every token, [T, 9]."""
    framed = ["\x02", "\x02", *tokens, "\x03", "\x03"]
    words, classes = hash_words(framed), hash_words(map(class_of, framed))
    num = len(tokens)

    def at(values: NDArray[np.uint64], offset: int) -> NDArray[np.uint64]:
        return values[2 + offset : 2 + offset + num]

    runs = (
        (at(words, -1), at(words, 0)),
        (at(words, 0), at(words, 1)),
        (at(words, -1), at(classes, 0)),
        (at(classes, 0), at(words, 1)),
        (at(classes, -1), at(classes, 0), at(classes, 1)),
        (at(words, -1), at(classes, 0), at(words, 1)),
        (at(classes, -2), at(classes, -1), at(classes, 0)),
        (at(classes, 0), at(classes, 1), at(classes, 2)),
        (at(words, -2), at(classes, -1), at(classes, 0)),
    )
    return hash_runs(_SALTS, runs, MISFIT_BITS)


@lru_cache(maxsize=1 << 16)
def class_of(token: str) -> str:
    """A common word is its own class, others share one with all words of the same ending."""
    if token in FUNCTION_WORDS or not token[0].isalnum():
        return token
    return "#" if token[0].isdigit() else f"~{token[-3:]}"
