"""What a text is about: latent semantic analysis of the conversations' content words.

Deerwester et al. 1990, "Indexing by latent semantic analysis". Six turns in a row are one document,
so words lie close that are said in one conversation, whether or not they mean the same: quarterback
and Redskins. That is what sentence vectors know least about.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from parley.platform.maxims.text.sentences import find_content_words

DOCUMENT_TURNS, DOCUMENT_STEP = 6, 4
"""Turns of a document, and turns from the start of one to the start of the next."""
MIN_DOCUMENTS = 3
"""A word that stands in fewer says nothing about topics."""

Floats = NDArray[np.float64]


class Topics:
    """Vectors of topics.

    Args:
        vocabulary: V content words.
        rarity: float64 [V]: log of how few documents have each word.
        directions: float64 [V, K]: the leading singular directions.
    """

    def __init__(self, vocabulary: Sequence[str], rarity: Floats, directions: Floats) -> None:
        self.vocabulary = list(vocabulary)
        self.rarity, self.directions = rarity, directions
        self._places = {word: place for place, word in enumerate(self.vocabulary)}
        self._rarest = float(rarity.max(initial=1.0))

    @classmethod
    def learn(cls, conversations: Sequence[Sequence[str]], width: int, seed: int) -> Topics:
        """The topics of these conversations, at most `width` directions."""
        from sklearn.utils.extmath import randomized_svd

        documents = [
            find_content_words(" ".join(talk[start : start + DOCUMENT_TURNS]))
            for talk in conversations
            for start in range(0, len(talk), DOCUMENT_STEP)
        ]
        counts = Counter(word for document in documents for word in set(document))
        vocabulary = sorted(word for word, count in counts.items() if count >= MIN_DOCUMENTS)
        frequency = np.array([counts[word] for word in vocabulary], np.float64)
        rarity = np.log((1 + len(documents)) / (1 + frequency)) + 1
        empty = cls(vocabulary, rarity, np.zeros((len(vocabulary), 1)))
        table = empty._weigh(documents)
        width = min(width, min(table.shape) - 1)
        _, _, directions = randomized_svd(table, width, random_state=seed)
        return cls(vocabulary, rarity, np.ascontiguousarray(directions.T))

    def locate(self, texts: Sequence[str]) -> Floats:
        """Topic vectors of length 1, float64 [N, K]; 0 for texts without a known content word."""
        found: Floats = self._weigh([find_content_words(text) for text in texts]) @ self.directions
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(lengths > 0, lengths, 1.0)

    def weight(self, words: Sequence[str] | set[str]) -> float:
        """How much some words say: the sum of their rarities, unknown words being the rarest."""
        places = (self._places.get(word) for word in words)
        return sum(self._rarest if p is None else float(self.rarity[p]) for p in places)

    def _weigh(self, documents: Sequence[Sequence[str]]) -> csr_matrix:
        """[N, V]: (1 + log count) times rarity, each row of length 1."""
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        for row, document in enumerate(documents):
            known = Counter(self._places[word] for word in document if word in self._places)
            weights = [(1 + math.log(n)) * self.rarity[place] for place, n in known.items()]
            length = math.sqrt(sum(weight * weight for weight in weights))
            rows += [row] * len(known)
            columns += known
            values += [weight / length for weight in weights]
        return csr_matrix((values, (rows, columns)), (len(documents), len(self.vocabulary)))
