"""What a reply earns: surprise of the judge up to what fluent text can earn, minus an anchor.

    x = mean_t -log p_judge(a_t | history, a_<t)                       nats per token
    R = f(x) - beta * mean_t [log pi(a_t | .) - log pi_start(a_t | .)]
    f(x) = x                    for x <= c
         = c - s (x - c)        for x >  c,        s = max(1, (c - x_0 + e) / (x_random - c - e))

c is the ceiling: what fluent text can earn. x_0 is the mean surprise of the starting policy's
replies and e = E[max(x - c, 0)] over them, x_random the mean of uniformly random tokens. The slope
s makes f(x_random) <= E f(x) of the start, and f is concave: gibberish is worth no more than having
learned nothing. All are measured before training (`platform.rollouts.calibration`). Pure functions
of arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SurpriseScale:
    """How surprise counts; all in nats per token.

    Raises:
        ValueError: a level is not a finite number, the ceiling is below the start, or random tokens
            lie between the two, where no fold can take their surprise back.
    """

    start: float
    """Surprise of the starting policy's replies."""
    ceiling: float
    """Surprise that fluent text can reach."""
    random: float
    """Surprise of uniformly random tokens."""
    excess: float = 0.0
    """Mean of max(x - ceiling, 0) over the starting policy's replies."""

    def __post_init__(self) -> None:
        if not np.isfinite([self.start, self.ceiling, self.random]).all():
            raise ValueError(f"the levels of surprise must be finite numbers, got {self}")
        if self.ceiling < self.start:
            raise ValueError(
                f"ceiling {self.ceiling:.3f} is below start {self.start:.3f} nats per token: "
                f"the starting policy itself is fluent, raise the ceiling to it"
            )
        if self.start < self.random <= self.ceiling:
            raise ValueError(
                f"ceiling {self.ceiling:.3f} is not below random {self.random:.3f} nats per token: "
                f"uniformly random tokens would earn more than the start, lower the ceiling"
            )

    @property
    def slope(self) -> float:
        """How steeply surprise beyond the ceiling is taken back; at least 1."""
        if self.random <= self.ceiling:  # and so no more surprising than the start
            return 1.0
        gap = self.random - self.ceiling
        excess = self.excess if self.excess < gap / 2 else 0.0  # else all replies are alike
        return max(1.0, (self.ceiling - self.start + excess) / (gap - excess))

    def count(self, surprise: Floats) -> Floats:
        """What surprise [...] is worth: itself up to the ceiling, less beyond."""
        beyond = np.maximum(surprise - np.float32(self.ceiling), np.float32(0.0))
        counted: Floats = surprise - np.float32(1.0 + self.slope) * beyond
        return counted


@dataclass(frozen=True)
class ReplyReward:
    """What one reply of n tokens earned, and for which tokens."""

    competitor_nll: float
    """Nats per token under the judge."""
    counted_nll: float
    """What of it counts."""
    kl: float
    """Estimate of KL(policy, start), nats per token: the mean log-ratio of the drawn tokens."""
    kl_penalty: float
    """`kl` times its weight."""
    tokens: Floats
    """float32 [n]: the reward, told apart by token."""

    @property
    def total(self) -> float:
        """The reward of the reply."""
        return self.counted_nll - self.kl_penalty

    def parts(self) -> dict[str, float]:
        """The reward and its parts, by name."""
        return {
            "total": self.total,
            "competitor_nll": self.competitor_nll,
            "counted_nll": self.counted_nll,
            "kl": self.kl,
            "kl_penalty": self.kl_penalty,
        }


def reward_reply(
    judge_log_probs: Floats,
    log_probs: Floats,
    start_log_probs: Floats,
    kl_weight: float,
    scale: SurpriseScale | None,
) -> ReplyReward:
    """The reward of a reply of n tokens and its exact decomposition into rewards of tokens.

    Token t gets f(S_t / n) - f(S_(t-1) / n), where S_t is the surprise of the first t tokens, and
    its share of the anchor: the sum telescopes to the reply's reward, and up to the ceiling a
    token gets just its own surprise over n.

    Args:
        judge_log_probs: of the tokens under the judge, [n].
        log_probs: under the policy that drew them, without truncation, at temperature 1, [n].
        start_log_probs: under its starting point, likewise, [n].
        kl_weight: beta.
        scale: f; None counts all surprise, however large.
    """
    num_tokens = np.float32(len(judge_log_probs))
    mean_so_far = np.cumsum(-judge_log_probs, dtype=np.float32) / num_tokens
    counted = mean_so_far if scale is None else scale.count(mean_so_far)
    log_ratios = (log_probs - start_log_probs) / num_tokens
    tokens = np.diff(counted, prepend=np.float32(0.0)) - np.float32(kl_weight) * log_ratios
    kl = float(log_ratios.sum())
    return ReplyReward(
        competitor_nll=float(mean_so_far[-1]),
        counted_nll=float(counted[-1]),
        kl=kl,
        kl_penalty=kl_weight * kl,
        tokens=tokens.astype(np.float32),
    )


def next_kl_weight(weight: float, kl: float, budget: float, base: float, rate: float) -> float:
    """The anchor's weight for the next iteration: a proportional controller around a budget.

    After Ziegler et al. 2019 (arXiv:1909.08593, section 2.2), one-sided: the weight never falls
    below its configured base, so that a run within its budget has a constant objective.

    Args:
        weight: now.
        kl: of the iteration, nats per token.
        budget: nats per token beyond which the weight grows.
        base: the configured weight; 0 switches the anchor off for good.
        rate: largest relative change.
    """
    error = float(np.clip(kl / budget - 1.0, -1.0, 1.0))
    return max(base, weight * (1.0 + rate * error))
