"""What a trial reached on each held-out conversation, so that two trials can be compared.

Scores of two trials on the same conversations rise and fall together: their difference is much
better known than either score, and it is the difference that chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.cooperate.evaluation.cooperation import QuickCooperation
from parley.platform.cooperate.evaluation.preference_accuracy import Floats, count_hits
from parley.platform.maxims.pairs.pair import PreferencePair
from parley.platform.report.intervals import NUM_RESAMPLES, Rate

OUTCOME = "heldout"
"""Key of an outcome among the facts of a checkpoint."""


@dataclass(frozen=True)
class HeldoutOutcome:
    """Sums by conversation, in the order of `conversations`."""

    conversations: tuple[str, ...]
    sums: Floats
    """[C, 4]: pairs that are preferred rightly, pairs, cooperative answers, answers; the last two
    are 0 where no judge could count them."""

    @classmethod
    def of(
        cls,
        margins: NDArray[np.floating[Any]],
        pairs: Sequence[PreferencePair],
        cooperation: QuickCooperation,
    ) -> HeldoutOutcome:
        """The outcome of margins [N] of pairs, and of greedy answers."""
        names = list(dict.fromkeys(pair.conversation for pair in pairs))
        place = {name: number for number, name in enumerate(names)}
        sums = np.zeros((len(names), 4))
        owners = [place[pair.conversation] for pair in pairs]
        np.add.at(sums, (owners, 0), count_hits(margins))
        np.add.at(sums, (owners, 1), 1.0)
        if cooperation.cooperative is not None:
            owners = [place[name] for name in cooperation.conversations]
            np.add.at(sums, (owners, 2), cooperation.cooperative)
            np.add.at(sums, (owners, 3), 1.0)
        return cls(tuple(names), sums)

    @property
    def is_judged(self) -> bool:
        """Whether a judge has a part in the score."""
        return bool(self.sums[:, 3].any())

    def score(self, accuracy_weight: float) -> float:
        """The preference accuracy and the cooperative rate, weighted; the first alone if unjudged.

        Args:
            accuracy_weight: of the preference accuracy.
        """
        return float(_score(self.sums.sum(axis=0, keepdims=True), self._weight(accuracy_weight))[0])

    def gain_over(self, other: HeldoutOutcome, accuracy_weight: float) -> Rate | None:
        """By how much the score is higher than another trial's.

        The interval is a percentile bootstrap over conversations, 95 %. None where the two were not
        measured on the same pairs and prompts.
        """
        same = np.array_equal(self.sums[:, [1, 3]], other.sums[:, [1, 3]])
        if self.conversations != other.conversations or not same:
            return None
        weight = self._weight(accuracy_weight)
        size = len(self.conversations)
        times = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), NUM_RESAMPLES)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = _score(times @ self.sums, weight) - _score(times @ other.sums, weight)
        # Resamples without an answer are left out (Efron and Tibshirani 1993, chapter 13).
        low, high = np.quantile(drawn[np.isfinite(drawn)], [0.025, 0.975])
        gain = self.score(accuracy_weight) - other.score(accuracy_weight)
        return Rate(gain, (float(low), float(high)), size)

    def _weight(self, accuracy_weight: float) -> float:
        return accuracy_weight if self.is_judged else 1.0

    def to_dict(self) -> dict[str, list[float]]:
        """Plain values: conversation -> its sums."""
        return dict(zip(self.conversations, self.sums.tolist(), strict=True))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Sequence[float]]) -> HeldoutOutcome:
        """The opposite of `to_dict`."""
        return cls(tuple(stored), np.array(list(stored.values()), np.float64).reshape(-1, 4))


def _score(sums: Floats, accuracy_weight: float) -> Floats:
    """Scores [R] of sums [R, 4]; NaN where a resample has no answers."""
    score = sums[:, 0] / sums[:, 1] * accuracy_weight
    if accuracy_weight < 1.0:
        score = score + (1.0 - accuracy_weight) * sums[:, 2] / sums[:, 3]
    return score
