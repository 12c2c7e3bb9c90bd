"""Which of two responses a model prefers, by maxim and with length taken out.

All intervals resample conversations, not pairs: pairs of one conversation resemble each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.evaluation.intervals import NUM_RESAMPLES
from parley.platform.preferences.exchange import MAXIMS
from parley.platform.preferences.pair import PreferencePair

SEVERAL, UNKNOWN = "several", "unknown"
"""Pairs whose rejected response violates more than one maxim, or none that is known."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rate:
    """A share and its 95 % interval; all NaN where nothing was counted."""

    value: float
    interval: tuple[float, float]
    count: int
    """What the share is of."""


@dataclass(frozen=True)
class PreferenceAccuracy:
    """How often the chosen response has the larger margin; a tie counts one half."""

    accuracy: Rate
    length_controlled: Rate
    """The mean of the accuracies over pairs with a longer and with a shorter chosen response, in
    words: a rule that looks at the length alone gets 50 %. NaN where one kind is missing."""
    by_maxim: dict[str, Rate]
    """Of the pairs whose rejected response violates this maxim alone; `several` and `unknown`
    hold the others."""

    def metrics(self, prefix: str = "preference_accuracy") -> dict[str, Any]:
        """The figures by their contract's names."""
        by_maxim = self.by_maxim.items()
        return {
            prefix: self.accuracy.value,
            f"{prefix}_ci95": list(self.accuracy.interval),
            f"{prefix}_length_controlled": self.length_controlled.value,
            f"{prefix}_length_controlled_ci95": list(self.length_controlled.interval),
            f"{prefix}_by_maxim": {maxim: rate.value for maxim, rate in by_maxim},
            f"{prefix}_by_maxim_ci95": {maxim: list(rate.interval) for maxim, rate in by_maxim},
            f"{prefix}_pairs": {maxim: rate.count for maxim, rate in by_maxim},
        }


@dataclass(frozen=True)
class PairLogProbs:
    """Log-probabilities of both responses of N pairs under a model and under its reference."""

    tuned: Floats
    """[N, 2]: chosen, rejected; sums over the tokens of a response."""
    reference: Floats
    """[N, 2]."""
    counts: NDArray[np.int64]
    """[N, 2], tokens of each response."""

    def implicit_margins(self, beta: float) -> Floats:
        """How much more the model rewards the chosen response: float64 [N].

        The reward is `beta * log(pi / pi_ref)` (Rafailov et al. 2023, equation 5).
        """
        rewards = beta * (self.tuned - self.reference)
        margins: Floats = rewards[:, 0] - rewards[:, 1]
        return margins

    def likelihood_margins(self) -> Floats:
        """How much likelier per token the model itself finds the chosen response: float64 [N]."""
        means = self.tuned / self.counts
        margins: Floats = means[:, 0] - means[:, 1]
        return margins

    def chosen_perplexities(self) -> dict[str, float]:
        """The chosen responses' perplexity per token, under both models, and the ratio."""
        num_tokens = self.counts[:, 0].sum()
        tuned, reference = (
            math.exp(-float(sums[:, 0].sum() / num_tokens)) for sums in (self.tuned, self.reference)
        )
        return {
            "chosen_perplexity": tuned,
            "chosen_perplexity_reference": reference,
            "chosen_perplexity_ratio": tuned / reference,
        }


def measure_accuracy(
    margins: NDArray[np.floating[Any]], pairs: Sequence[PreferencePair]
) -> PreferenceAccuracy:
    """How often a measure prefers the chosen response.

    Args:
        margins: [N], the measure of the chosen response less that of the rejected one; such as
            `PairLogProbs.implicit_margins`.
        pairs: N, N >= 1, in the same order.

    Raises:
        ValueError: another number of pairs, none, or a margin that is no number.
    """
    if len(margins) != len(pairs) or not pairs:
        raise ValueError(
            f"{len(margins)} margins of {len(pairs)} pairs: one for each, at least one"
        )
    if np.isnan(margins).any():
        raise ValueError(f"{int(np.isnan(margins).sum())} of {len(margins)} margins are no numbers")
    hits = np.where(margins > 0, 1.0, np.where(margins < 0, 0.0, 0.5))
    conversations = [pair.conversation for pair in pairs]
    groups = np.array([group_of(pair.maxim) for pair in pairs])
    named = [name for name in (*MAXIMS, SEVERAL, UNKNOWN) if (groups == name).any()]
    return PreferenceAccuracy(
        clustered_rate(hits, conversations),
        balanced_rate(hits, np.sign(length_margins(pairs)), conversations),
        {
            name: clustered_rate(
                hits[groups == name],
                [c for c, group in zip(conversations, groups, strict=True) if group == name],
            )
            for name in named
        },
    )


def group_of(maxim: str) -> str:
    """A pair's row in `by_maxim`."""
    if maxim in MAXIMS:
        return maxim
    return SEVERAL if "+" in maxim else UNKNOWN


def length_margins(pairs: Sequence[PreferencePair]) -> Floats:
    """Words of the chosen response more than of the rejected one: float64 [N].

    The shortcut that an accuracy has to be compared with: `measure_accuracy` of these margins, or
    of minus them, is what a rule on length alone reaches.
    """
    return np.array([len(p.chosen.split()) - len(p.rejected.split()) for p in pairs], np.float64)


def mean_loss(margins: Floats) -> float:
    """The DPO loss `-log sigmoid(margin)`, in nats, averaged over pairs [N]."""
    return float(np.logaddexp(0.0, -margins).mean())


def clustered_rate(hits: NDArray[Any], clusters: Sequence[str]) -> Rate:
    """The mean of `hits` [N] with a bootstrap over clusters.

    Args:
        hits: in [0, 1].
        clusters: of each; values of one cluster are not independent, clusters are.
    """
    columns = np.stack([np.asarray(hits, np.float64), np.ones(len(hits))], axis=1)
    return _bootstrap(columns, clusters, lambda sums: sums[:, 0] / sums[:, 1], len(hits))


def balanced_rate(hits: Floats, signs: Floats, clusters: Sequence[str]) -> Rate:
    """The mean of the two rates over values with a positive and with a negative sign.

    Args:
        hits, signs: [N]; those of sign 0 are left out.
        clusters: as in `clustered_rate`.
    """
    longer, shorter = signs > 0, signs < 0
    columns = np.stack([hits * longer, longer, hits * shorter, shorter], axis=1)

    def mean_of_rates(sums: Floats) -> Floats:
        rates: Floats = (sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2
        return rates

    return _bootstrap(columns, clusters, mean_of_rates, int((signs != 0).sum()))


def _bootstrap(
    columns: Floats, clusters: Sequence[str], statistic: Callable[[Floats], Floats], count: int
) -> Rate:
    """A statistic of the sums of columns [N, K], with a percentile bootstrap over clusters.

    Resamples in which it does not exist are left out (Efron and Tibshirani 1993, chapter 13).

    Args:
        statistic: sums [R, K] to values [R].
    """
    if len(columns) == 0:
        return Rate(math.nan, (math.nan, math.nan), 0)
    names, of_row = np.unique(np.array(clusters), return_inverse=True)
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, of_row, columns)
    picks = np.random.default_rng(0).integers(0, len(names), size=(NUM_RESAMPLES, len(names)))
    times = np.zeros((NUM_RESAMPLES, len(names)))
    np.add.at(times, (np.arange(NUM_RESAMPLES)[:, None], picks), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
        resampled = statistic(times @ sums)
    known = resampled[np.isfinite(resampled)]
    if not math.isfinite(value) or len(known) == 0:
        return Rate(math.nan, (math.nan, math.nan), count)
    low, high = np.quantile(known, [0.025, 0.975])
    return Rate(value, (float(low), float(high)), count)
