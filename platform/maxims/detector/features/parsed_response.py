"""A response cut into what the features look at: turns, sentences, words, hashed tokens."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.text.exchange import Exchange
from parley.platform.maxims.text.sentences import (
    find_content_words,
    find_words,
    normalise_space,
    split_sentences,
)
from parley.platform.maxims.text.wording import split_turns

Hashes = NDArray[np.uint64]

MIN_CLAUSE_WORDS = 3
_MARKED_WORD = re.compile(r"[a-z]+(?:['\u2019][a-z]+)*|\d[\d,.]*\d|\d|[^\w\s]")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Of Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4)."""


@dataclass(frozen=True)
class Passage:
    """One exchange, white space normalised: doubled blanks give repaired responses away."""

    turns: list[str]
    """Of the context, the last one nearest to the response."""
    response: str
    sentences: list[str]
    words: list[str]
    """Of the response, as written."""
    topic: list[str]
    """Content words of the response."""
    context_topic: list[str]
    """Content words of the context."""
    last_topic: list[str]
    """Content words of the last turn."""
    tokens: Hashes
    """Words in lower case and punctuation marks of the response, hashed, [T]."""
    clauses: list[tuple[int, int]]
    """First token and end of every run of three or more words without a mark."""


def parse_passage(exchange: Exchange) -> Passage:
    """Cut an exchange into its parts."""
    turns = split_turns(exchange.context)
    response = normalise_space(exchange.response)
    marked = _MARKED_WORD.findall(response.lower())
    return Passage(
        turns=turns,
        response=response,
        sentences=split_sentences(response) if response else [],
        words=find_words(response),
        topic=find_content_words(response),
        context_topic=find_content_words(" ".join(turns)),
        last_topic=find_content_words(turns[-1]) if turns else [],
        tokens=hash_words(marked),
        clauses=_find_clauses(marked),
    )


def _find_clauses(tokens: Sequence[str]) -> list[tuple[int, int]]:
    clauses, start = [], 0
    for index in range(len(tokens) + 1):
        if index == len(tokens) or not tokens[index][0].isalnum():
            if index - start >= MIN_CLAUSE_WORDS:
                clauses.append((start, index))
            start = index + 1
    return clauses


def hash_tokens(text: str) -> Hashes:
    """Words in lower case and single punctuation marks, a 64-bit hash each, [T]."""
    return hash_words(_MARKED_WORD.findall(text.lower()))


def hash_words(words: Iterable[str]) -> Hashes:
    """A 64-bit hash of each word, equal in every process."""
    return np.fromiter(map(_hash_word, words), np.uint64)


def hash_ngrams(tokens: Hashes, order: int) -> Hashes:
    """The hashes of all runs of `order` tokens, [T - order + 1]."""
    num = len(tokens) - order + 1
    if num <= 0:
        return tokens[:0]
    mixed = tokens[:num]
    for step in range(1, order):
        mixed = (mixed * MULTIPLIER) ^ tokens[step : step + num]
        mixed = mixed ^ (mixed >> np.uint64(29))
    return mixed


def slots_of(hashes: Hashes, num_bits: int) -> NDArray[np.int64]:
    """The table rows, below 2 ** `num_bits`, of hashed runs."""
    slots: NDArray[np.int64] = ((hashes * MULTIPLIER) >> np.uint64(64 - num_bits)).astype(np.int64)
    return slots


@lru_cache(maxsize=1 << 17)
def _hash_word(word: str) -> int:
    data = word.encode()
    return (zlib.crc32(data) << 32) | zlib.crc32(data, 0x5BD1E995)
