"""The clipped surrogate loss of PPO (Schulman et al. 2017, arXiv:1707.06347, equations 7 and 9).

    L = -E[min(rho A, clip(rho, 1 - c, 1 + c) A)] + c_v E[(V - R)^2] - c_e E[H],  rho = pi / pi_old

Optionally the value is clipped too (the original code does, the paper does not): the larger of the
two squared errors of V and of V_old + clip(V - V_old, -c', c').
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PPOTerms:
    """The loss and its parts: scalars, with gradients where the formula has them."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    """Nats."""
    kl: Tensor
    """Estimate of KL(old, new) in nats: mean of rho - 1 - log rho (Schulman 2020)."""
    clip_fraction: Tensor

    def times(self, weight: float) -> PPOTerms:
        """All terms, weighted."""
        return PPOTerms(**{name: weight * term for name, term in vars(self).items()})


def compute_ppo_loss(
    logits: Tensor,
    values: Tensor,
    actions: Tensor,
    old_logps: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    value_targets: Tensor,
    *,
    clip: float,
    value_clip: float | None,
    value_coefficient: float,
    entropy_coefficient: float,
) -> PPOTerms:
    """The loss over B steps.

    Args:
        logits: of the actions now, [B, A].
        values: V now, [B].
        actions: int64 [B].
        old_logps, old_values, advantages, value_targets: as sampled, [B].
        clip: of the probability ratio.
        value_clip: of the value's change; None: not clipped.
        value_coefficient, entropy_coefficient: weights of the two terms.
    """
    log_probs = torch.log_softmax(logits, dim=-1)
    log_ratio = log_probs.gather(1, actions.unsqueeze(1)).squeeze(1) - old_logps
    ratio = log_ratio.exp()
    surrogate = torch.minimum(advantages * ratio, advantages * ratio.clamp(1 - clip, 1 + clip))
    policy_loss = -surrogate.mean()
    value_error = (values - value_targets).square()
    if value_clip is not None:
        clipped = old_values + (values - old_values).clamp(-value_clip, value_clip)
        value_error = torch.maximum(value_error, (clipped - value_targets).square())
    value_loss = value_error.mean()
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    total = policy_loss + value_coefficient * value_loss - entropy_coefficient * entropy
    with torch.no_grad():
        kl = (ratio - 1 - log_ratio).mean()
        clip_fraction = ((ratio - 1).abs() > clip).float().mean()
    return PPOTerms(total, policy_loss, value_loss, entropy, kl, clip_fraction)
