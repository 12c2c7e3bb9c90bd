"""Which of two responses a model prefers, by maxim and with length taken out.

The independent unit of all intervals is the conversation: pairs of one resemble each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.cooperate.settings import DPOSection
from parley.platform.maxims.pairs.pair import PreferencePair
from parley.platform.maxims.text.exchange import MAXIMS
from parley.platform.records import Metrics
from parley.platform.report.intervals import (
    Rate,
    bootstrap_rate_interval,
    effective_number,
    share_interval,
)

SEVERAL, UNKNOWN = "several", "unknown"
"""Pairs whose rejected response violates more than one maxim, or none that is known."""
LONGER, SHORTER, EQUAL = "longer", "shorter", "equal"
"""Pairs by the length of the chosen response compared with the rejected one's, in words."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PreferenceAccuracy:
    """How often the chosen response has the larger margin; a tie counts one half."""

    accuracy: Rate
    length_controlled: Rate
    """With pairs so weighted that a rule on length alone gets 50 %; see `length_controlled_rate`.
    NaN where no pair can be used."""
    by_length: dict[str, Rate]
    """Of the pairs whose chosen response is the longer one, the shorter one, or as long."""
    by_maxim: dict[str, Rate]
    """Of the pairs whose rejected response violates this maxim alone; `several` and `unknown`
    hold the others."""

    def metrics(self, prefix: str = "preference_accuracy") -> Metrics:
        """The figures by their contract's names."""
        controlled = f"{prefix}_length_controlled"
        metrics: Metrics = {
            prefix: self.accuracy.value,
            f"{prefix}_ci95": list(self.accuracy.interval),
            controlled: self.length_controlled.value,
            f"{controlled}_ci95": list(self.length_controlled.interval),
            f"{controlled}_pairs": self.length_controlled.count,
            f"{controlled}_pairs_left_out": self.accuracy.count - self.length_controlled.count,
        }
        for unit, rates in (("maxim", self.by_maxim), ("length", self.by_length)):
            named = rates.items()
            metrics |= {
                f"{prefix}_by_{unit}": {name: rate.value for name, rate in named},
                f"{prefix}_by_{unit}_ci95": {name: list(rate.interval) for name, rate in named},
            }
        return metrics | {
            f"{prefix}_pairs": {name: rate.count for name, rate in self.by_maxim.items()},
            f"{prefix}_pairs_by_length": {n: rate.count for n, rate in self.by_length.items()},
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

    def losses(self, dpo: DPOSection) -> dict[str, float]:
        """What training minimises, `eval_objective`, and its two terms, under the same names.

        Returns:
            `eval_loss`: the DPO loss, nats per pair; `eval_chosen_nll`: the chosen responses'
            negative log-likelihood, nats per token, which has the weight `chosen_nll_weight`.
        """
        loss = mean_loss(self.implicit_margins(dpo.beta), dpo.label_smoothing)
        nll = -float(self.tuned[:, 0].sum() / self.counts[:, 0].sum())
        return {
            "eval_loss": loss,
            "eval_chosen_nll": nll,
            "eval_objective": loss + dpo.chosen_nll_weight * nll,
        }

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
        ValueError: another number of pairs, none, or a margin that is not finite.
    """
    if len(margins) != len(pairs) or not pairs:
        raise ValueError(
            f"{len(margins)} margins of {len(pairs)} pairs: one for each, at least one"
        )
    if np.isnan(margins).any():
        raise ValueError(f"{int(np.isnan(margins).sum())} of {len(margins)} margins are not finite")
    hits = count_hits(margins)
    conversations = [pair.conversation for pair in pairs]
    maxims = np.array([group_of(pair.maxim) for pair in pairs])
    lengths = length_classes(pairs)
    return PreferenceAccuracy(
        clustered_rate(hits, conversations),
        length_controlled_rate(hits, lengths, conversations),
        by_length=_rates_by(lengths, (LONGER, SHORTER, EQUAL), hits, conversations),
        by_maxim=_rates_by(maxims, (*MAXIMS, SEVERAL, UNKNOWN), hits, conversations),
    )


def count_hits(margins: NDArray[np.floating[Any]]) -> Floats:
    """1 where a margin [N] prefers the chosen response, 0 where the rejected one, 1/2 for a tie."""
    return np.where(margins > 0, 1.0, np.where(margins < 0, 0.0, 0.5))


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


def length_classes(pairs: Sequence[PreferencePair]) -> NDArray[np.str_]:
    """`longer`, `shorter` or `equal` for each pair: [N]."""
    margins = length_margins(pairs)
    return np.where(margins > 0, LONGER, np.where(margins < 0, SHORTER, EQUAL))


def mean_loss(margins: Floats, label_smoothing: float = 0.0) -> float:
    """The DPO loss `-log sigmoid(margin)`, in nats, averaged over pairs [N].

    Args:
        margins: of the implicit rewards.
        label_smoothing: share of the pairs taken as labelled the wrong way round (cDPO).
    """
    right, wrong = np.logaddexp(0.0, -margins).mean(), np.logaddexp(0.0, margins).mean()
    return float((1.0 - label_smoothing) * right + label_smoothing * wrong)


def clustered_rate(hits: NDArray[Any], clusters: Sequence[str]) -> Rate:
    """The mean of `hits` [N], with its interval over clusters.

    Args:
        hits: in [0, 1].
        clusters: of each; values of one cluster are not independent, clusters are.
    """
    return weighted_rate(hits, np.zeros(len(hits)), {0.0: 1.0}, clusters)


def clustered_mean(values: NDArray[Any], clusters: Sequence[str]) -> Rate:
    """The mean of `values` [N], which are no shares, with a bootstrap over clusters."""
    if len(values) == 0:
        return Rate(math.nan, (math.nan, math.nan), 0)
    of_row = np.unique(np.array(clusters), return_inverse=True)[1]
    interval = bootstrap_rate_interval(np.bincount(of_row, values), np.bincount(of_row))
    return Rate(float(np.mean(values)), interval, len(values))


def length_controlled_rate(
    hits: Floats, lengths: NDArray[np.str_], clusters: Sequence[str]
) -> Rate:
    """The mean of `hits` [N] with the longer and the shorter class weighing the same.

    What decides by length alone is right in one of the two and wrong in the other: it gets 50 %.
    In pairs of equal length it can see nothing; they keep their share of all pairs. Where one of
    the two classes is missing, the other is left out: nothing stands against it.

    Args:
        hits: in [0, 1].
        lengths: [N], see `length_classes`.
        clusters: as in `clustered_rate`.
    """
    share_equal = float(np.mean(lengths == EQUAL)) if len(lengths) else 0.0
    each = (1.0 - share_equal) / 2
    shares = {EQUAL: share_equal, LONGER: each, SHORTER: each}
    if not ((lengths == LONGER).any() and (lengths == SHORTER).any()):
        shares = {EQUAL: 1.0}
    return weighted_rate(hits, lengths, shares, clusters)


def weighted_rate(
    hits: NDArray[Any],
    classes: NDArray[Any],
    shares: Mapping[Any, float],
    clusters: Sequence[str],
) -> Rate:
    """The mean over classes of their mean `hits`, weighted by `shares`.

    Args:
        hits: [N], in [0, 1].
        classes: [N]; those without a share are left out.
        shares: class -> its weight, together 1; a class without values must weigh 0.
        clusters: [N], see `clustered_rate`.

    Returns:
        NaN where nothing is left.
    """
    weights, centres = np.zeros(len(hits)), np.zeros(len(hits))
    for name, share in shares.items():
        rows = classes == name
        if rows.any():
            weights[rows], centres[rows] = share / rows.sum(), np.mean(hits[rows])
    if not weights.any():
        return Rate(math.nan, (math.nan, math.nan), 0)
    of_row = np.unique(np.array(clusters), return_inverse=True)[1]
    value = float(np.clip(weights @ hits, 0.0, 1.0))  # rounding
    interval = share_interval(
        value,
        np.bincount(of_row, weights * (hits - centres)),
        effective_number(weights),
        effective_number(np.bincount(of_row, weights)),
    )
    return Rate(value, interval, int(np.count_nonzero(weights)))


def _rates_by(
    classes: NDArray[np.str_],
    names: Sequence[str],
    hits: Floats,
    clusters: Sequence[str],
) -> dict[str, Rate]:
    """The rate of each class that occurs, in the order of `names`."""
    return {
        name: weighted_rate(hits, classes, {name: 1.0}, clusters)
        for name in names
        if (classes == name).any()
    }
