"""Kneser-Ney against hand-computed values and a slow formula; its probabilities sum to one."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from parley.platform.language.dialogue_tokens import TokenDialogues, join_dialogues
from parley.platform.language.ngrams import KneserNey

END = 0


def dialogues(*rows: list[int]) -> TokenDialogues:
    return join_dialogues([np.array(row, np.int32) for row in rows], END)


def random_dialogues(num: int, vocab_size: int, seed: int) -> TokenDialogues:
    """Skewed enough that counts of one to four all occur."""
    random = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, vocab_size + 1)
    rows = [
        [*random.choice(vocab_size, 12, p=weights / weights.sum()).tolist(), END]
        for _ in range(num)
    ]
    return dialogues(*rows)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_sum_to_one(order: int) -> None:
    vocab_size = 9
    model = KneserNey(random_dialogues(40, vocab_size, seed=order), order, vocab_size)
    contexts = np.array(list(itertools.product(range(vocab_size), repeat=order - 1)))
    contexts = contexts.reshape(vocab_size ** (order - 1), order - 1)[:200]
    for context in contexts:
        grams = np.column_stack([np.tile(context, (vocab_size, 1)), np.arange(vocab_size)])
        probabilities = model.probabilities(grams.astype(np.int64))
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
        assert (probabilities > 0).all()


def test_a_bigram_by_hand() -> None:
    """Tokens 1 2 E and 1 2 1 E of a vocabulary of 4: bigrams 12, 2E, 12, 21, 1E.

    Too few counts for estimates, so the discounts are 0.5, 1 and 1.5. Continuations: 2 follows one
    context (1), E follows two (2, 1), 1 follows one (2): four in all.
    """
    model = KneserNey(dialogues([1, 2, END], [1, 2, 1, END]), 2, vocab_size=4)
    # Two words (1, 2) with a continuation count of one, one (E) with two.
    saved = 2 * 0.5 + 1 * 1.0
    unigram = {
        2: (1 - 0.5 + saved / 4) / 4,
        END: (2 - 1.0 + saved / 4) / 4,
        1: (1 - 0.5 + saved / 4) / 4,
        3: (saved / 4) / 4,
    }
    assert sum(unigram.values()) == pytest.approx(1.0)
    after_1 = {  # c(12) = 2, c(1E) = 1
        2: (2 - 1.0 + 1.5 * unigram[2]) / 3,
        END: (1 - 0.5 + 1.5 * unigram[END]) / 3,
        3: 1.5 * unigram[3] / 3,
    }
    for word, expected in after_1.items():
        assert model.probabilities(np.array([[1, word]])) == pytest.approx([expected])
    unseen_context = model.probabilities(np.array([[3, 2]]))
    assert unseen_context == pytest.approx([unigram[2]])


def test_a_trigram_equals_the_slow_formula() -> None:
    vocab_size, order = 7, 3
    corpus = random_dialogues(60, vocab_size, seed=0)
    padded = [[END, END, *corpus[index].tolist()] for index in range(len(corpus))]
    highest = Counter(tuple(row[end - 3 : end]) for row in padded for end in range(4, len(row) + 1))
    slow = SlowKneserNey(highest, vocab_size)
    model = KneserNey(corpus, order, vocab_size)
    grams = np.array(list(itertools.product(range(vocab_size), repeat=3)))
    expected = [slow.probability(tuple(gram)) for gram in grams.tolist()]
    np.testing.assert_allclose(model.probabilities(grams), expected, rtol=1e-12)


class SlowKneserNey:
    """Chen & Goodman's formulas with dictionaries."""

    def __init__(self, highest: Counter[tuple[int, ...]], vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.counts = {3: highest}
        for length in (2, 1):
            longer = self.counts[length + 1]
            self.counts[length] = Counter(gram[1:] for gram in longer)

    def probability(self, gram: tuple[int, ...]) -> float:
        if not gram:
            return 1.0 / self.vocab_size
        counts = self.counts[len(gram)]
        followers = {g: c for g, c in counts.items() if g[:-1] == gram[:-1]}
        lower = self.probability(gram[1:])
        if not followers:
            return lower
        discounts = self._discounts(counts)
        total = sum(followers.values())
        saved = sum(discounts[min(count, 3)] for count in followers.values())
        own = counts.get(gram, 0)
        return (own - discounts[min(own, 3)] + saved * lower) / total

    def _discounts(self, counts: Counter[tuple[int, ...]]) -> list[float]:
        n = [sum(count == k for count in counts.values()) for k in range(5)]
        if 0 in n[1:]:
            return [0.0, 0.5, 1.0, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        return [0.0] + [
            min(max(k - (k + 1) * y * n[k + 1] / n[k], 1e-3), float(k)) for k in (1, 2, 3)
        ]


def test_losses_are_summed_by_dialogue() -> None:
    corpus = random_dialogues(30, 7, seed=1)
    model = KneserNey(corpus, 2, 7)
    losses = model.measure(corpus)
    assert losses.counts.tolist() == (corpus.lengths - 1).tolist()
    row = corpus[4].astype(np.int64)
    grams = np.column_stack([row[:-1], row[1:]])
    assert losses.nats[4] == pytest.approx(-np.log(model.probabilities(grams)).sum())
    assert losses.mean == pytest.approx(losses.nats.sum() / losses.counts.sum())


def test_higher_orders_know_more_of_what_they_counted() -> None:
    corpus = random_dialogues(300, 7, seed=2)
    means = [KneserNey(corpus, order, 7).measure(corpus).mean for order in (1, 2, 3)]
    assert math.log(7) > means[0] > means[1] > means[2]


@pytest.mark.parametrize("order", [0, 7])
def test_impossible_orders_are_refused(order: int) -> None:
    with pytest.raises(ValueError, match=f"order {order} with 2000 tokens is not possible"):
        KneserNey(dialogues([1, 2, END]), order, 2_000)
