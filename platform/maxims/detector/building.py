"""From settings to a detector: rows, cross-fitted models, thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector.corpus import LEARNED, Corpus, build_corpus
from parley.platform.maxims.detector.cross_fitting import Report, cross_fit
from parley.platform.maxims.detector.feature_detector import (
    UNKNOWN,
    FeatureDetector,
    row_key,
    utterance_keys,
)
from parley.platform.maxims.detector.thresholds import JudgedRows, choose_offsets
from parley.platform.maxims.detector.violation_heads import join_heads
from parley.platform.maxims.detector_settings import DialogueDetectorConfig
from parley.platform.maxims.text.exchange import MAXIMS, Exchange

INJECTED_SHARE = 0.5
"""Weight of the injected rows in the choice of thresholds; the labelled ones have 1."""


@dataclass(frozen=True)
class BuiltDetector:
    """A detector, and what it says of the rows that it was made of, each by an unseeing model."""

    detector: FeatureDetector
    corpus: Corpus
    scores: NDArray[np.float64]
    """[N, 4], by the order of `corpus.rows`."""


def build_detector(config: DialogueDetectorConfig, report: Report) -> BuiltDetector:
    """Read or generate the data, cross-fit the models, choose the thresholds.

    Raises:
        InputError: the data cannot be used.
    """
    report("reading the data", 0.0)
    corpus = build_corpus(config)
    fitted = cross_fit(corpus, config.model, config.seed, report)
    report("choosing thresholds", 0.98)
    offsets = _calibrate(corpus, fitted.log_odds, config.calibration.max_flag_rate)
    facts = {
        "experiment": config.experiment,
        "max_flag_rate": config.calibration.max_flag_rate,
        "trained_on": {
            "files": [name.rpartition("/")[2] for name in config.data.labelled],
            "conversations": sum(map(len, corpus.conversations)),
            "generated": not config.data.conversations,
        },
    }
    # Small talk repeats itself: what is said in it tells no conversation from others.
    folds = _known_folds(corpus) if config.data.conversations else {}
    detector = FeatureDetector(fitted.models, offsets, folds, facts)
    own = offsets[[row.fold for row in corpus.rows]]
    return BuiltDetector(detector, corpus, join_heads(fitted.log_odds, own))


def _calibrate(
    corpus: Corpus, log_odds: NDArray[np.float64], max_flag_rate: float
) -> NDArray[np.float64]:
    """The offsets of each fold, chosen on the others, and last those of all rows, [K + 1, H].

    All rows are judged by the models that did not see them, so that no row has a part in how it is
    judged: neither its trees nor its thresholds know it.
    """
    origins = np.array([row.origin for row in corpus.rows])
    labels = np.array([row.labels for row in corpus.rows], bool).reshape(-1, len(MAXIMS))
    folds = np.array([row.fold for row in corpus.rows])
    chosen = []
    for left_out in (*range(corpus.num_folds), None):
        used = folds != (UNKNOWN if left_out is None else left_out)
        judged = [
            JudgedRows(log_odds[picks], labels[picks], weight)
            for origin, weight in (("labelled", 1.0), ("injected", INJECTED_SHARE))
            for picks in [used & (origins == origin)]
        ]
        clean = [log_odds[used & (origins == origin)] for origin in ("human", "turn")]
        chosen.append(choose_offsets(judged, clean, max_flag_rate))
    return np.stack(chosen)


def _known_folds(corpus: Corpus) -> Mapping[int, int]:
    """The folds of the rows and of the utterances that were learned from."""
    folds: dict[int, int] = {}
    for row in corpus.rows:
        if row.origin in LEARNED:
            folds[row_key(row.exchange)] = row.fold
            said = row.exchange
            if any(row.labels):  # an injected phrase is said in every conversation
                said = said._replace(response="")
            folds.update((key, row.fold) for key in utterance_keys(said))
    for fold, part in enumerate(corpus.conversations):
        for talk in part:
            for turn in talk:
                folds.update((key, fold) for key in utterance_keys(Exchange("", "", turn)))
    return folds
