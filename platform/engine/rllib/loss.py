"""The loss of an actor-critic on drawn tokens, whatever its policy gradient.

    L = L_policy + c_v E[(V - R)^2] - c_e E[H]

The value loss is there where the gradient has a critic. Optionally the value is clipped (the code
of PPO's authors does it, their paper does not): the larger of the two squared errors of V and of
V_old + clip(V - V_old, -c', c').
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from parley.platform.engine.rllib.gradients.policy_gradient import Drawn, PolicyGradient


@dataclass(frozen=True)
class LossTerms:
    """The loss and its parts: scalars, with gradients where the formula has them."""

    total: Tensor
    policy: Tensor
    value: Tensor
    """0 without a critic."""
    entropy: Tensor
    """Nats."""
    kl: Tensor
    """Estimate of KL(old, new) in nats: mean of rho - 1 - log rho (Schulman 2020)."""
    clip_fraction: Tensor
    """0 where nothing is clipped."""

    def times(self, weight: float) -> LossTerms:
        """All terms, weighted."""
        return LossTerms(**{name: weight * term for name, term in vars(self).items()})


def compute_loss(
    gradient: PolicyGradient[Any],
    logits: Tensor,
    values: Tensor,
    drawn: Drawn,
    entropy_coefficient: float,
) -> LossTerms:
    """The loss over N tokens.

    Args:
        gradient: gives the policy's loss.
        logits: of all tokens now, [N, V].
        values: V now, [N].
        drawn: the tokens.
        entropy_coefficient: c_e.
    """
    log_probs = torch.log_softmax(logits, dim=-1)
    now = log_probs.gather(1, drawn.actions.unsqueeze(1)).squeeze(1)
    tokens = gradient.token_losses(now, drawn)
    total = policy = gradient.average(tokens.losses, drawn)
    value = clip_fraction = torch.zeros_like(policy)
    if gradient.needs_critic:
        value = compute_value_loss(values, drawn, gradient.settings.value_clip)
        total = total + gradient.settings.value_coefficient * value
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    total = total - entropy_coefficient * entropy
    with torch.no_grad():
        log_ratio = now - drawn.log_probs
        kl = (log_ratio.exp() - 1 - log_ratio).mean()
        if tokens.clipped is not None:
            clip_fraction = tokens.clipped.float().mean()
    return LossTerms(total, policy, value, entropy, kl, clip_fraction)


def compute_value_loss(values: Tensor, drawn: Drawn, clip: float | None) -> Tensor:
    """The mean squared error of values [N]; `clip` is c', None: not clipped."""
    assert drawn.value_targets is not None, "a gradient with a critic gives value targets"
    error = (values - drawn.value_targets).square()
    if clip is not None:
        near = drawn.values + (values - drawn.values).clamp(-clip, clip)
        error = torch.maximum(error, (near - drawn.value_targets).square())
    return error.mean()
