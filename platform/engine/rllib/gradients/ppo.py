"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9).

    L = -E[min(rho A, clip(rho, 1 - c, 1 + c) A)],  rho = pi(a) / pi_old(a) for each token

A is the generalised advantage, whitened over all tokens. The clip keeps the policy near the one
that drew the tokens, so that several epochs over them do no harm; the advantages need values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from parley.platform.engine.rllib.gradients.advantages import estimate_stretches, whiten_stretches
from parley.platform.engine.rllib.gradients.policy_gradient import (
    ADVANTAGES,
    VALUE_TARGETS,
    Credit,
    Drawn,
    GradientSettings,
    PolicyGradient,
    Stretch,
    TokenLosses,
)


class PPOSettings(GradientSettings, Protocol):
    """What it reads of its section."""

    gamma: float
    gae_lambda: float
    clip: float
    value_clip: float | None
    value_coefficient: float
    num_epochs: int


class PPO(PolicyGradient[PPOSettings]):
    """One importance ratio for each token, clipped; a critic."""

    needs_critic = True

    @property
    def num_epochs(self) -> int:
        """As the settings say."""
        return self.settings.num_epochs

    def credit(self, stretches: Sequence[Stretch]) -> Credit:
        """Generalised advantages, and the values that they would have needed."""
        advantages = estimate_stretches(stretches, self.settings.gamma, self.settings.gae_lambda)
        targets = [own + it.values for own, it in zip(advantages, stretches, strict=True)]
        return {ADVANTAGES: whiten_stretches(advantages), VALUE_TARGETS: targets}

    def token_losses(self, log_probs: Tensor, drawn: Drawn) -> TokenLosses:
        """The clipped surrogate."""
        advantages, clip = drawn.advantages, self.settings.clip
        ratio = (log_probs - drawn.log_probs).exp()
        clipped = advantages * ratio.clamp(1 - clip, 1 + clip)
        losses = -torch.minimum(advantages * ratio, clipped)
        return TokenLosses(losses, (ratio.detach() - 1).abs() > clip)
