"""From a measure to a probability of violation, by human replies alone.

Every signal has a budget: the share of human replies in place that it may flag. With t the share of
human replies that are at least as suspicious, the probability is budget / (budget + t): 1/2 where
just the budget is flagged, near 0 for usual replies, near 1 for what people hardly ever say. This
is Bayes' rule where violated replies are as frequent as the budget and more suspicious than all
human ones. No violated reply is needed, and none is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
THRESHOLD = 0.5


@dataclass(frozen=True)
class Signal:
    """Something that can be wrong with a reply."""

    maxim: str
    """What it violates."""
    budget: float
    """Share of human replies in place that it may flag; 0: the measure is the probability."""


SIGNALS: dict[str, Signal] = {
    "misfit": Signal("relation", 0.07),
    "echo": Signal("relation", 0.002),
    "discourtesy": Signal("relation", 0.003),
    "disorder": Signal("manner", 0.01),
    "repetition": Signal("manner", 0.002),
    "dwelling": Signal("manner", 0.002),
    "broken_end": Signal("manner", 0.003),
    "length": Signal("quantity", 0.002),
    "emptiness": Signal("quantity", 0.0),
    "claims": Signal("quality", 0.002),
    "opposition": Signal("quality", 0.002),
}
"""All signals that one row shows; larger measures are more suspicious."""


class Calibration:
    """The measures of human replies in place, by signal.

    Args:
        human: float64 [replies] of each signal; NaN where it says nothing of a reply.
    """

    def __init__(self, human: Mapping[str, Floats]) -> None:
        self.human = {name: np.sort(human[name]) for name in SIGNALS}

    def to_probabilities(self, name: str, values: Floats) -> Floats:
        """The probability that the signal's maxim is violated, float64 [N]; 0 for NaN."""
        budget = SIGNALS[name].budget
        if budget == 0:
            return values
        known = self.human[name]
        known = known[~np.isnan(known)]
        above = len(known) - np.searchsorted(known, values, side="left")
        num_human = len(self.human[name])
        tail = (above + 0.5) / (num_human + 1)
        # Few replies cannot show a small share: beyond all of them is always suspicious.
        budget = max(budget, 1 / (num_human + 1))
        return np.where(np.isnan(values), 0.0, budget / (budget + tail))
