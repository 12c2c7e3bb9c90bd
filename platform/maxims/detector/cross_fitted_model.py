"""One model of a cross-fitted detector: features of a passage, and trees for each head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.features.counts import measure_counts
from parley.platform.maxims.detector.features.parsed_response import Passage
from parley.platform.maxims.detector.features.stock_phrases import Phrases
from parley.platform.maxims.detector.features.word_statistics import WordStatistics
from parley.platform.maxims.detector.trees import Trees
from parley.platform.maxims.detector.violation_heads import HEADS
from parley.platform.records import State

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Channels:
    """Everything learned that features are made of; a function of the folds that it has seen."""

    word_statistics: WordStatistics
    phrases: Phrases | None
    """None where runs of words are not learned."""

    def measure(self, passages: Sequence[Passage]) -> Features:
        """What the channels say of each passage, [N, C]; NaN where one does not apply."""
        rows = []
        for passage in passages:
            row = list(self.word_statistics.measure(passage).values())
            if self.phrases is not None:
                row.extend(self.phrases.measure(passage))
            rows.append(row)
        return np.array(rows, np.float32).reshape(len(passages), -1)


def surface_features(passages: Sequence[Passage]) -> Features:
    """What needs no learning, [N, S]: the same for all models."""
    rows = [list(measure_counts(passage).values()) for passage in passages]
    return np.array(rows, np.float32).reshape(len(passages), -1)


@dataclass(frozen=True)
class CrossFittedModel:
    """Judges passages of conversations that it has not seen."""

    channels: Channels
    trees: tuple[Trees, ...]
    """By the order of `HEADS`."""

    def log_odds(self, passages: Sequence[Passage], surface: Features) -> NDArray[np.float64]:
        """What each head says of each passage, [N, H].

        Args:
            passages: [N].
            surface: [N, S], their `surface_features`.
        """
        return ask_trees(self.trees, np.hstack([surface, self.channels.measure(passages)]))


def ask_trees(trees: Sequence[Trees], features: Features) -> NDArray[np.float64]:
    """Log-odds of every head, [N, H], of features [N, F]."""
    return np.stack([ensemble.log_odds(features) for ensemble in trees], axis=1)


def model_arrays(model: CrossFittedModel) -> tuple[dict[str, NDArray[Any]], State]:
    """All that a model is made of: named arrays, and tables of words for JSON."""
    word_statistics, phrases = model.channels.word_statistics, model.channels.phrases
    arrays = dict(word_statistics.arrays())
    if phrases is not None:
        arrays |= {
            "phrases.weights": phrases.weights,
            "phrases.bias": phrases.bias,
            "phrases.odds": phrases.odds,
        }
    for head, trees in zip(HEADS, model.trees, strict=True):
        arrays |= {f"trees.{head.name}.{name}": array for name, array in trees.arrays().items()}
    return arrays, word_statistics.tables()


def model_of(arrays: Mapping[str, NDArray[Any]], tables: Mapping[str, Any]) -> CrossFittedModel:
    """The inverse of `model_arrays`."""
    phrases = None
    if "phrases.weights" in arrays:
        phrases = Phrases(*(arrays[f"phrases.{name}"] for name in ("weights", "bias", "odds")))
    trees = tuple(
        Trees.from_arrays(
            {
                name.removeprefix(f"trees.{head.name}."): array
                for name, array in arrays.items()
                if name.startswith(f"trees.{head.name}.")
            }
        )
        for head in HEADS
    )
    return CrossFittedModel(Channels(WordStatistics.restore(arrays, tables), phrases), trees)
