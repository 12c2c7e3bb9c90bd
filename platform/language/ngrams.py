"""N-gram language models of dialogues: interpolated modified Kneser-Ney, by whole arrays.

The reference that a trained model has to beat. After Chen & Goodman 1999, "An empirical study of
smoothing techniques for language modeling", section 3: absolute discounts for counts of one, two
and more; lower orders count in how many contexts a word continues; the lowest order is
interpolated with the uniform distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parley.platform.language.dialogue_tokens import TokenDialogues
from parley.platform.language.training import DialogueLosses

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Where there are too few counts to estimate them: half-way between none and all."""


@dataclass(frozen=True)
class _Order:
    """The counts of one order n."""

    grams: Ints
    """[G], sorted: key of every n-gram that was seen, see `_keys`."""
    counts: Ints
    """[G]: occurrences, or contexts for the lower orders."""
    contexts: Ints
    """[C], sorted: key of the (n - 1)-gram before the last word."""
    totals: Ints
    """[C]: sum of the counts behind each context."""
    by_count: Ints
    """[C, 3]: how many different words follow it once, twice, and more often."""
    discounts: Floats
    """[4]: of counts of 0, 1, 2 and at least 3."""


class KneserNey:
    """An n-gram model of token ids.

    Dialogues are padded with end-of-text tokens on the left, so that the second token of a dialogue
    has a whole context, too. As for the neural models, the first token of a dialogue is given.

    Args:
        dialogues: to count.
        order: n; 3 is a trigram model.
        vocab_size: ids are below it.

    Raises:
        ValueError: the order is below 1, or so high that n ids do not fit into 63 bits.
    """

    def __init__(self, dialogues: TokenDialogues, order: int, vocab_size: int) -> None:
        if order < 1 or vocab_size**order >= 2**63:
            raise ValueError(
                f"order {order} with {vocab_size} tokens is not possible; choose an order of at "
                f"least 1 with vocab_size ** order below 2 ** 63"
            )
        self.order = order
        self.vocab_size = vocab_size
        grams, counts = np.unique(self._keys(self._grams(dialogues)), return_counts=True)
        self._orders = [self._count(grams, counts)]
        for length in range(order - 1, 0, -1):
            # Each distinct longer n-gram is one context of the shorter one that it ends with.
            shorter, contexts = np.unique(grams % vocab_size**length, return_counts=True)
            self._orders.insert(0, self._count(shorter, contexts))
            grams = shorter

    def probabilities(self, grams: Ints) -> Floats:
        """The probability float64 [N] of the last id of each row of int64 [N, order]."""
        result = np.full(len(grams), 1.0 / self.vocab_size)
        for length, counted in enumerate(self._orders, start=1):
            keys = self._keys(grams[:, self.order - length :])
            result = _interpolate(counted, keys, keys // self.vocab_size, result)
        return result

    def measure(self, dialogues: TokenDialogues) -> DialogueLosses:
        """Nats of every token but the first of each dialogue."""
        nats = -np.log(self.probabilities(self._grams(dialogues)))
        counts = dialogues.lengths - 1
        owners = np.repeat(np.arange(len(dialogues)), counts)
        sums = np.zeros(len(dialogues))
        np.add.at(sums, owners, nats)
        return DialogueLosses(sums, counts)

    def _grams(self, dialogues: TokenDialogues) -> Ints:
        """int64 [targets, order]: each predicted token behind what stands before it."""
        places = np.arange(len(dialogues.tokens))
        starts = np.repeat(dialogues.offsets[:-1], dialogues.lengths)
        targets = places[places > starts]
        starts = starts[places > starts]
        wanted = targets[:, None] - np.arange(self.order - 1, -1, -1)
        inside = wanted >= starts[:, None]
        tokens = dialogues.tokens[np.maximum(wanted, 0)].astype(np.int64)
        return np.where(inside, tokens, dialogues.end_token)

    def _keys(self, grams: Ints) -> Ints:
        """One number for each row: its ids as digits to the base `vocab_size`."""
        keys = np.zeros(len(grams), np.int64)
        for column in grams.T:
            keys = keys * self.vocab_size + column
        return keys

    def _count(self, grams: Ints, counts: Ints) -> _Order:
        contexts, where = np.unique(grams // self.vocab_size, return_inverse=True)
        by_count = np.zeros((len(contexts), 3), np.int64)
        np.add.at(by_count, (where, np.minimum(counts, 3) - 1), 1)
        totals = np.bincount(where, counts, len(contexts)).astype(np.int64)
        return _Order(grams, counts, contexts, totals, by_count, _estimate_discounts(counts))


def _interpolate(counted: _Order, keys: Ints, contexts: Ints, lower: Floats) -> Floats:
    """The discounted share of each n-gram plus what was saved times the lower order's."""
    counts = _look_up(counted.grams, counted.counts, keys)
    places, known = _find(counted.contexts, contexts)
    totals = np.where(known, counted.totals[places], 1)
    saved = counted.by_count[places] @ counted.discounts[1:]
    kept = counts - counted.discounts[np.minimum(counts, 3)]
    return np.where(known, (kept + saved * lower) / totals, lower)


def _look_up(sorted_keys: Ints, values: Ints, keys: Ints) -> Ints:
    places, found = _find(sorted_keys, keys)
    return np.where(found, values[places], 0)


def _find(sorted_keys: Ints, keys: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    places = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return places, sorted_keys[places] == keys


def _estimate_discounts(counts: Ints) -> Floats:
    """[4]: 0 and D1, D2, D3+ of Chen & Goodman 1999, equation 26."""
    n1, n2, n3, n4 = (int((counts == number).sum()) for number in (1, 2, 3, 4))
    if 0 in (n1, n2, n3, n4):
        return np.array([0.0, *_FALLBACK_DISCOUNTS])
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    # Outside of it a probability would be negative, or no mass would be saved for unseen words.
    return np.array(
        [0.0, *(float(np.clip(d, 1e-3, k)) for k, d in zip((1, 2, 3), found, strict=True))]
    )
