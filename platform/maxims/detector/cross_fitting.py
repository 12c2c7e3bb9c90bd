"""Training a detector so that no row is ever judged by what has seen its conversation.

With K folds, model k is grown on the rows outside of fold k. Its features come from channels that
are learned, too, so a row of fold j that it is grown on is measured by channels that have seen
neither j nor k: only then do features look in training as they do in use. K (K + 1) / 2 sets of
channels serve all models, since those without {j, k} serve model j and model k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.corpus import LEARNED, Corpus
from parley.platform.maxims.detector.cross_fitted_model import (
    Channels,
    CrossFittedModel,
    Features,
    ask_trees,
    surface_features,
)
from parley.platform.maxims.detector.features.parsed_response import Passage, parse_passage
from parley.platform.maxims.detector.features.stock_phrases import Phrases
from parley.platform.maxims.detector.features.word_statistics import WordStatistics
from parley.platform.maxims.detector.trees import Trees
from parley.platform.maxims.detector.violation_heads import HEADS, LEFT_OUT, head_targets
from parley.platform.maxims.detector_settings import DetectorModelConfig
from parley.platform.maxims.text.exchange import MAXIMS

MAX_DRAWN = 3_000
"""Rows that say no to a head and are no human responses next to violated ones, at most."""

Report = Callable[[str, float], None]
"""What is being done, and the share of the whole work that is finished."""


@dataclass(frozen=True)
class CrossFit:
    """The models, and what they say of the rows that they have not seen."""

    models: list[CrossFittedModel]
    """By fold."""
    log_odds: NDArray[np.float64]
    """Of every row of the corpus by the model that has not seen its fold, [N, H]."""


def cross_fit(corpus: Corpus, config: DetectorModelConfig, seed: int, report: Report) -> CrossFit:
    """Grow the model of every fold, and score every row by the one that does not know it."""
    return _CrossFitting(corpus, config, seed, report).run()


class _CrossFitting:
    def __init__(
        self, corpus: Corpus, config: DetectorModelConfig, seed: int, report: Report
    ) -> None:
        self._corpus, self._config, self._seed, self._report = corpus, config, seed, report
        rows = corpus.rows
        self._passages: list[Passage] = [parse_passage(row.exchange) for row in rows]
        self._folds = np.array([row.fold for row in rows])
        self._labels = np.array([row.labels for row in rows], bool).reshape(-1, len(MAXIMS))
        self._learned = np.array([row.origin in LEARNED for row in rows])
        self._targets = head_targets([row.kind for row in rows], self._labels)
        # The phrases of an injection are those of its fold: other folds cannot learn from them.
        injected = np.array([row.origin == "injected" for row in rows])
        stated = (self._targets == 1) & injected[:, None]
        self._phrase_targets = np.where(stated, np.int8(LEFT_OUT), self._targets)
        self._human = np.array([row.origin == "human" for row in rows])
        weight_of = {"injected": config.injection_weight, "turn": config.clean_weight}
        self._weights = np.array([weight_of.get(row.origin, 1.0) for row in rows])

    def run(self) -> CrossFit:
        num_folds = self._corpus.num_folds
        self._report("measuring the responses", 0.0)
        surface = surface_features(self._passages)
        own, learned = self._fit_all_channels()
        log_odds = np.zeros((len(self._folds), len(HEADS)))
        models = []
        for fold in range(num_folds):
            self._report("growing trees", 0.7 + 0.3 * fold / num_folds)
            features = np.hstack([surface, np.stack(learned[fold])])
            model, judged = self._fit_model(fold, own[fold], features)
            log_odds[self._folds == fold] = judged
            models.append(model)
        self._report("done", 1.0)
        return CrossFit(models, log_odds)

    def _fit_all_channels(self) -> tuple[list[Channels], list[list[NDArray[np.float32]]]]:
        """The channels of each model, and for each model the features of every row, N x [C]."""
        num_folds = self._corpus.num_folds
        pairs = [(one, other) for one in range(num_folds) for other in range(one, num_folds)]
        empty = np.zeros(0, np.float32)
        learned = [[empty] * len(self._folds) for _ in range(num_folds)]
        own: list[Channels] = []
        for number, (one, other) in enumerate(pairs):
            self._report("learning what is usual", 0.05 + 0.65 * number / len(pairs))
            channels = self._fit_channels({one, other})
            for model, fold in {(one, other), (other, one)}:
                picks = np.flatnonzero(self._folds == fold)
                features = channels.measure([self._passages[index] for index in picks])
                for index, row in zip(picks, features, strict=True):
                    learned[model][index] = row
            if one == other:
                own.append(channels)
        return own, learned

    def _fit_channels(self, left_out: set[int]) -> Channels:
        talks = self._corpus.clean_talks(left_out)
        word_statistics = WordStatistics.fit(talks, self._seed)
        if not self._config.phrases:
            return Channels(word_statistics, None)
        seen = self._learned & ~np.isin(self._folds, list(left_out))
        passages = [self._passages[index] for index in np.flatnonzero(seen)]
        turns = [turn for talk in talks for turn in talk]
        phrases = Phrases.fit(
            passages,
            self._labels[seen],
            self._weights[seen],
            self._phrase_targets[seen],
            turns,
            self._seed,
        )
        return Channels(word_statistics, phrases)

    def _fit_model(
        self, fold: int, channels: Channels, features: Features
    ) -> tuple[CrossFittedModel, NDArray[np.float64]]:
        """The model that has not seen `fold`, and what it says of that fold's rows, [n, H]."""
        rng = np.random.default_rng([self._seed, fold])
        seen = self._learned & (self._folds != fold)
        trees = []
        for column in range(len(HEADS)):
            rows = self._rows_of_head(seen, column, rng)
            trees.append(
                Trees.fit(
                    features[rows],
                    self._targets[rows, column] == 1,
                    self._weights[rows],
                    self._config.num_trees,
                    self._seed,
                )
            )
        model = CrossFittedModel(channels, tuple(trees))
        return model, ask_trees(trees, features[self._folds == fold])

    def _rows_of_head(
        self, seen: NDArray[np.bool_], column: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """All that say yes to a head, the human responses next to them, a draw of the others."""
        targets = self._targets[:, column]
        yes = np.flatnonzero(seen & (targets == 1))
        no = np.flatnonzero(seen & (targets == 0))
        humans, others = no[self._human[no]], no[~self._human[no]]
        drawn = rng.permutation(others)[:MAX_DRAWN]
        return np.sort(np.concatenate([yes, humans, drawn]))
