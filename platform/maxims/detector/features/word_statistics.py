"""What clean conversations teach: how words follow, what belongs together, how replies begin.

Everything is counted or fitted on turns of people (or of parley's small talk), never on violations,
and is kept in a few arrays; tables are addressed by hashes, so that there is no vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.features.missing_ends import MissingEnds
from parley.platform.maxims.detector.features.parsed_response import (
    Passage,
    hash_ngrams,
    hash_tokens,
    hash_words,
    slots_of,
)
from parley.platform.maxims.detector.features.replaced_words import ReplacedWords
from parley.platform.maxims.detector.features.sentence_order import SentenceOrder
from parley.platform.maxims.text.sentences import find_content_words, find_words
from parley.platform.records import State

UNIGRAM_BITS, BIGRAM_BITS, FACT_BITS = 17, 20, 17
TOPIC_SIZE = 64
CLAUSE_FEATURES = ("clause_nats", "clause_spread", "clause_rare", "clause_words", "clause_place")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class BigramCounts:
    """Counts of words and pairs of neighbours: which pairs are likely, which are odd."""

    unigrams: Floats
    """[2 ** UNIGRAM_BITS]"""
    bigrams: Floats
    """[2 ** BIGRAM_BITS]"""

    @classmethod
    def count(cls, texts: Sequence[str]) -> BigramCounts:
        unigrams = np.zeros(2**UNIGRAM_BITS, np.float32)
        bigrams = np.zeros(2**BIGRAM_BITS, np.float32)
        for text in texts:
            tokens = _framed(hash_tokens(text))
            np.add.at(unigrams, slots_of(tokens, UNIGRAM_BITS), 1.0)
            np.add.at(bigrams, slots_of(hash_ngrams(tokens, 2), BIGRAM_BITS), 1.0)
        return cls(unigrams, bigrams)

    def measure(self, passage: Passage) -> dict[str, float]:
        tokens = _framed(passage.tokens)
        ones = self.unigrams[slots_of(tokens, UNIGRAM_BITS)].astype(np.float64)
        twos = self.bigrams[slots_of(hash_ngrams(tokens, 2), BIGRAM_BITS)].astype(np.float64)
        total = float(self.unigrams.sum()) + 1.0
        p_one = (ones[1:] + 0.5) / (total + 0.5 * 30_000)
        weight = ones[:-1] / (ones[:-1] + 5.0)
        p_two = weight * twos / np.maximum(ones[:-1], 1.0) + (1.0 - weight) * p_one
        nats = -np.log(p_two)
        gain = np.log(p_two) - np.log(p_one)
        expected = ones[:-1] * ones[1:] / total
        odd = np.where(twos < 0.2 * expected, np.log((expected + 0.3) / (twos + 0.3)), 0.0)
        worst = np.sort(nats)[::-1]
        odds = np.sort(odd)[::-1]
        return {
            "nats": float(nats.mean()),
            "worst_nats": float(worst[0]),
            "second_nats": float(worst[1]) if len(worst) > 1 else math.nan,
            "third_nats": float(worst[2]) if len(worst) > 2 else math.nan,
            "gain": float(gain.mean()),
            "least_gain": float(gain.min()),
            "unigram_nats": float(-np.log(p_one).mean()),
            "unknown_words": float((ones[1:-1] < 1).mean()) if len(ones) > 2 else 0.0,
            "rare_words": float((ones[1:-1] < 5).mean()) if len(ones) > 2 else 0.0,
            "num_unknown": float((ones[1:-1] < 1).sum()),
            "oddest": float(odds[0]),
            "second_oddest": float(odds[1]) if len(odds) > 1 else 0.0,
            "third_oddest": float(odds[2]) if len(odds) > 2 else 0.0,
            "odd_pairs": float((odd > 1.0).sum()),
            "opening_nats": float(nats[:2].mean()),
            "closing_nats": float(nats[-2:].mean()),
            **_worst_clause(passage, nats, ones[1:-1]),
        }


def _worst_clause(
    passage: Passage, nats: NDArray[np.float64], counts: NDArray[np.float64]
) -> dict[str, float]:
    """The clause that is least like what people say: a claim put into small talk stands out.

    Args:
        passage: of T tokens.
        nats: [T + 1], of every token and of the end.
        counts: [T], how often each token was seen.
    """
    if not passage.clauses:
        return dict.fromkeys(CLAUSE_FEATURES, math.nan)
    means = [float(nats[start:end].mean()) for start, end in passage.clauses]
    rare = [float((counts[start:end] < 20).mean()) for start, end in passage.clauses]
    worst = int(np.argmax(means))
    start, end = passage.clauses[worst]
    values = (means[worst], means[worst] - min(means), max(rare), float(end - start), float(worst))
    return dict(zip(CLAUSE_FEATURES, values, strict=True))


_FRAME = hash_words(["\x02", "\x03"])


def _framed(tokens: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.concatenate([_FRAME[:1], tokens, _FRAME[1:]])


@dataclass(frozen=True)
class NumberMemory:
    """Which numbers are said together with which content words."""

    pairs: Mapping[str, Mapping[str, int]]
    """Content word -> number as written -> turns in which both occur."""
    neighbours: Floats
    """Counts of (word, number) and (number, word) as hashed pairs, [2 ** FACT_BITS]."""

    @classmethod
    def count(cls, texts: Sequence[str]) -> NumberMemory:
        pairs: dict[str, dict[str, int]] = {}
        neighbours = np.zeros(2**FACT_BITS, np.float32)
        for text in texts:
            numbers = _numbers(text)
            if not numbers:
                continue
            for word in sorted(set(find_content_words(text))):
                row = pairs.setdefault(word, {})
                for number in numbers:
                    row[number] = row.get(number, 0) + 1
            np.add.at(neighbours, _number_pairs(text), 1.0)
        return cls(pairs, neighbours)

    def measure(self, passage: Passage) -> dict[str, float]:
        numbers = _numbers(passage.response)
        if not numbers:
            return {
                "number_support": math.nan, "number_rival": math.nan, "number_margin": math.nan,
                "number_neighbours": math.nan, "number_least": math.nan,
            }  # fmt: skip
        votes: dict[str, float] = {}
        topic = sorted(set(passage.topic))
        for word in topic:
            row = self.pairs.get(word)
            if row is None:
                continue
            spread = 1.0 / math.sqrt(len(row))
            for number, count in row.items():
                votes[number] = votes.get(number, 0.0) + min(count, 3) * spread
        support = [votes.get(number, 0.0) for number in numbers]
        rival = max((v for n, v in votes.items() if n not in numbers), default=0.0)
        slots = _number_pairs(passage.response)
        seen = self.neighbours[slots] > 0 if len(slots) else np.zeros(1)
        return {
            "number_support": max(support),
            "number_least": min(support),
            "number_rival": rival,
            "number_margin": min(support) - rival,
            "number_neighbours": float(seen.mean()),
        }


def _numbers(text: str) -> list[str]:
    return [word.replace(",", "") for word in find_words(text) if word[0].isdigit()]


def _number_pairs(text: str) -> NDArray[np.int64]:
    words = [word.lower() for word in find_words(text)]
    pairs = [f"{a}\t{b}" for a, b in pairwise(words) if a[0].isdigit() or b[0].isdigit()]
    return slots_of(hash_words(pairs), FACT_BITS)


@dataclass(frozen=True)
class TopicSpace:
    """Vectors of content words: near where words occur in the same or in the next turn."""

    vectors: Mapping[str, int]
    """Content word -> row."""
    table: Floats
    """[V, TOPIC_SIZE], rows of length 1."""
    weights: Floats
    """Inverse document frequency, [V]."""

    @classmethod
    def fit(cls, conversations: Sequence[Sequence[str]], seed: int) -> TopicSpace:
        from scipy import sparse
        from sklearn.utils.extmath import randomized_svd

        turns = [[set(find_content_words(turn)) for turn in talk] for talk in conversations]
        counts: dict[str, int] = {}
        for talk in turns:
            for turn in talk:
                for word in turn:
                    counts[word] = counts.get(word, 0) + 1
        kept = {w: i for i, w in enumerate(sorted(w for w, c in counts.items() if c >= 4))}
        rows: list[int] = []
        columns: list[int] = []
        turn_no = 0
        for talk in turns:
            for index, turn in enumerate(talk):
                near = turn | (talk[index - 1] if index else set())
                for word in sorted(near):
                    if word in kept:
                        rows.append(turn_no)
                        columns.append(kept[word])
                turn_no += 1
        data = np.ones(len(rows), np.float32)
        matrix = sparse.csr_matrix((data, (rows, columns)), (turn_no, len(kept)))
        together = (matrix.T @ matrix).tocoo()
        totals = np.asarray(matrix.sum(0)).ravel()
        pmi = np.log(
            together.data * totals.sum() / (totals[together.row] * totals[together.col]) * 0.05
            + 1e-9
        )
        off = (pmi > 0) & (together.row != together.col)
        ppmi = sparse.csr_matrix((pmi[off], (together.row[off], together.col[off])), together.shape)
        size = min(TOPIC_SIZE, len(kept) - 1)
        left, singular, _ = randomized_svd(ppmi, size, random_state=seed, n_iter=3)
        table = left * np.sqrt(singular)
        table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
        freq = np.array([counts[w] for w in kept], np.float32)
        weights = np.log(turn_no / freq)
        return cls(kept, table.astype(np.float32), weights.astype(np.float32))

    def measure(self, passage: Passage) -> dict[str, float]:
        reply, reply_weights = self._rows(passage.topic)
        context, context_weights = self._rows(passage.context_topic)
        last, last_weights = self._rows(passage.last_topic)
        result = {
            "topic_cosine": math.nan, "last_cosine": math.nan, "best_word": math.nan,
            "mean_word": math.nan, "least_word": math.nan, "unknown_topic": math.nan,
            "inner_cosine": math.nan, "idf_shared": math.nan,
        }  # fmt: skip
        if len(passage.topic):
            result["unknown_topic"] = 1.0 - len(reply) / len(passage.topic)
        if len(reply) and len(context):
            center = reply_weights @ reply
            result["topic_cosine"] = _cosine(center, context_weights @ context)
            if len(last):
                result["last_cosine"] = _cosine(center, last_weights @ last)
            nearest = (reply @ context.T).max(axis=1)
            result["best_word"] = float(nearest.max())
            result["mean_word"] = float(
                nearest @ reply_weights / max(float(reply_weights.sum()), 1e-9)
            )
            result["least_word"] = float(nearest.min())
            result["idf_shared"] = float(reply_weights @ (nearest > 0.999))
        if len(reply) > 1:
            inner = reply @ reply.T
            result["inner_cosine"] = float(inner[np.triu_indices(len(reply), 1)].mean())
        return result

    def _rows(self, words: Sequence[str]) -> tuple[Floats, Floats]:
        picks = [self.vectors[word] for word in words if word in self.vectors]
        return self.table[picks], self.weights[picks]


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9))


@dataclass(frozen=True)
class WordStatistics:
    """All of it, from one set of conversations."""

    word_order: BigramCounts
    numbers: NumberMemory
    topics: TopicSpace
    sentence_order: SentenceOrder
    replaced_words: ReplacedWords
    missing_ends: MissingEnds

    @classmethod
    def fit(cls, conversations: Sequence[Sequence[str]], seed: int) -> WordStatistics:
        texts = [turn for talk in conversations for turn in talk]
        return cls(
            BigramCounts.count(texts),
            NumberMemory.count(texts),
            TopicSpace.fit(conversations, seed),
            SentenceOrder.fit(conversations, seed),
            ReplacedWords.fit(texts, seed),
            MissingEnds.fit(texts, seed),
        )

    def measure(self, passage: Passage) -> dict[str, float]:
        """What the background says of a passage, name -> value; NaN where one does not apply."""
        return {
            **self.word_order.measure(passage),
            **self.numbers.measure(passage),
            **self.topics.measure(passage),
            **self.sentence_order.measure(passage.sentences, passage.last_topic),
            **self.replaced_words.measure(passage.response),
            **self.missing_ends.measure(passage.response),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its numbers, by name."""
        return {
            "words.unigrams": self.word_order.unigrams,
            "words.bigrams": self.word_order.bigrams,
            "numbers.neighbours": self.numbers.neighbours,
            "topics.table": self.topics.table,
            "topics.weights": self.topics.weights,
            "order.weights": self.sentence_order.weights,
            "misfits.weights": self.replaced_words.weights,
            "misfits.bias": self.replaced_words.bias,
            "breaks.weights": self.missing_ends.weights,
            "breaks.bias": self.missing_ends.bias,
        }

    def tables(self) -> State:
        """Its words, for JSON."""
        return {"numbers": self.numbers.pairs, "topics": list(self.topics.vectors)}

    @classmethod
    def restore(
        cls, arrays: Mapping[str, NDArray[Any]], tables: Mapping[str, Any]
    ) -> WordStatistics:
        """The inverse of `arrays` and `tables`."""
        rows = {word: row for row, word in enumerate(tables["topics"])}
        return cls(
            BigramCounts(arrays["words.unigrams"], arrays["words.bigrams"]),
            NumberMemory(tables["numbers"], arrays["numbers.neighbours"]),
            TopicSpace(rows, arrays["topics.table"], arrays["topics.weights"]),
            SentenceOrder(arrays["order.weights"]),
            ReplacedWords(arrays["misfits.weights"], arrays["misfits.bias"]),
            MissingEnds(arrays["breaks.weights"], arrays["breaks.bias"]),
        )
