"""The one interface of every judge: rows in, four probabilities of violation out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.maxims.detector_settings import CalibrationConfig
from parley.platform.maxims.text.exchange import MAXIMS, Exchange

JUDGE_FILE = "judge.json"
"""What marks the folder of a judge."""


class Detector(ABC):
    """Says which maxims a response violates.

    Attributes:
        thresholds: float64 [4], by the order of `MAXIMS`: probabilities from which a maxim counts
            as violated, calibrated on rows that the detector did not learn from.
        least_contexts: different contexts that a set of rows needs before all that the detector
            looks for can show in it.
        learned_from: in a few words; empty where nobody knows.
        max_flag_rate: share of people's replies that it is calibrated to flag at most.
    """

    thresholds: NDArray[np.float64]
    least_contexts = 1
    learned_from = ""
    max_flag_rate = CalibrationConfig().max_flag_rate

    @abstractmethod
    def score_rows(self, rows: Sequence[Exchange]) -> NDArray[np.float64]:
        """Probabilities of violation, float64 [N, 4] by the order of `MAXIMS`."""

    def score(self, context: str, evidence: str, response: str) -> NDArray[np.float64]:
        """The four probabilities of one response, float64 [4]."""
        return self.score_rows([Exchange(context, evidence, response)])[0]

    def find_violations(self, rows: Sequence[Exchange]) -> NDArray[np.bool_]:
        """Which maxims each response violates, bool [N, 4]."""
        if not rows:
            return np.zeros((0, len(MAXIMS)), np.bool_)
        found: NDArray[Any] = self.score_rows(rows) >= self.thresholds
        return found
