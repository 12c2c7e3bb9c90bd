"""Of several responses the one that a detector finds least likely to violate a maxim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.interface import Detector
from parley.platform.maxims.text.exchange import Exchange

EPSILON = 1e-9
"""Probabilities are kept so far from 0 and 1 that their log-odds are finite."""


@dataclass(frozen=True)
class Choice:
    """The least risky response to one prompt.

    Attributes:
        text: the response; empty where all were.
        risk: see `violation_risks`; infinite where all were empty.
        others: the other responses, the less risky ones first, each text once.
    """

    text: str
    risk: float
    others: tuple[str, ...]


def violation_risks(detector: Detector, rows: Sequence[Exchange]) -> NDArray[np.float64]:
    """How far each response is from being called cooperative, float64 [N]; below 0 it is.

    The largest excess, over the maxims, of the log-odds of a violation over those of the maxim's
    threshold: so maxims with high and with low thresholds weigh alike. An empty response cooperates
    with nobody: its risk is infinite.
    """
    risks = np.full(len(rows), np.inf)
    spoken = [i for i, row in enumerate(rows) if row.response.strip()]
    if spoken:
        scores = detector.score_rows([rows[i] for i in spoken])
        excess = _log_odds(scores) - _log_odds(detector.thresholds)
        risks[spoken] = excess.max(axis=1)
    return risks


def choose_best(
    detector: Detector,
    contexts: Sequence[tuple[str, str]],
    candidates: Sequence[Sequence[str]],
) -> list[Choice]:
    """The candidate of least risk for each prompt; of equal ones the first.

    Args:
        detector: the pipeline's.
        contexts: context and evidence of N prompts.
        candidates: N lists of at least one response.
    """
    unique = [list(dict.fromkeys(texts)) for texts in candidates]
    rows = [
        Exchange(context, evidence, text)
        for (context, evidence), texts in zip(contexts, unique, strict=True)
        for text in texts
    ]
    risks = violation_risks(detector, rows)
    choices = []
    start = 0
    for texts in unique:
        own = risks[start : start + len(texts)]
        start += len(texts)
        order = np.argsort(own, kind="stable")
        best, *others = (texts[i] for i in order)
        choices.append(Choice(best, float(own[order[0]]), tuple(others)))
    return choices


def _log_odds(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    clipped = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1.0 - EPSILON)
    odds: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return odds
