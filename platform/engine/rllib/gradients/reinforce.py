"""REINFORCE with a baseline (Williams 1992, equation 11; Machine Learning 8).

    L = -E[(R - b) log pi(a)]

R is what a stretch and those after it earned. b is the mean of R over the stretches at the same
place of all other episodes (Kool et al. 2019): independent of the stretch, so that the gradient
stays unbiased. Minus the policy gradient as long as the tokens come from the policy itself: they
are learned from once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from torch import Tensor
from torch.optim import Optimizer
from transformers.optimization import Adafactor

from parley.platform.engine.rllib.gradients.advantages import leave_one_out
from parley.platform.engine.rllib.gradients.policy_gradient import (
    ADVANTAGES,
    Credit,
    Drawn,
    GradientSettings,
    PolicyGradient,
    Stretch,
    TokenLosses,
)
from parley.platform.records import ParameterGroup


class Reinforce(PolicyGradient[GradientSettings]):
    """No critic, no ratio, one epoch."""

    def credit(self, stretches: Sequence[Stretch]) -> Credit:
        """All tokens of a stretch have its advantage; one without others to compare has 0."""
        returns: list[float] = []
        for _, episode in groupby(stretches, key=lambda stretch: stretch.episode):
            totals = [stretch.total for stretch in episode]
            returns += np.cumsum(totals[::-1], dtype=np.float64)[::-1].tolist()
        gains = leave_one_out(returns, [stretch.place for stretch in stretches])
        return {
            ADVANTAGES: [
                np.full(len(stretch.rewards), gain, np.float32)
                for stretch, gain in zip(stretches, gains, strict=True)
            ]
        }

    def token_losses(self, log_probs: Tensor, drawn: Drawn) -> TokenLosses:
        """The score function, weighted."""
        return TokenLosses(-(drawn.advantages * log_probs))

    def make_optimiser(self, groups: list[ParameterGroup]) -> Optimizer:
        """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235) at a fixed rate."""
        return Adafactor(
            groups,
            lr=self.settings.learning_rate,
            relative_step=False,
            scale_parameter=False,
            warmup_init=False,
        )
