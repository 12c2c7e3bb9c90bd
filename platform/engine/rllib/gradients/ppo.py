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
    Critic,
    Drawn,
    GradientSettings,
    PolicyGradient,
    Stretch,
    TokenLosses,
)


class PPOSettings(GradientSettings, Protocol):
    """What it reads of its section."""

    @property
    def gamma(self) -> float:
        """Discount of a token."""

    @property
    def gae_lambda(self) -> float:
        """Lambda of the generalised advantage estimate."""

    @property
    def clip(self) -> float:
        """Clip range of the probability ratio."""

    @property
    def value_clip(self) -> float | None:
        """Clip range of the value's change."""

    @property
    def value_coefficient(self) -> float:
        """Weight of the value loss."""

    @property
    def num_epochs(self) -> int:
        """Passes over one iteration's batch."""


class PPO(PolicyGradient[PPOSettings]):
    """One importance ratio for each token, clipped; a critic."""

    @property
    def num_epochs(self) -> int:
        """As the settings say."""
        return self.settings.num_epochs

    @property
    def critic(self) -> Critic:
        """As the settings say."""
        return Critic(self.settings.value_coefficient, self.settings.value_clip)

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
