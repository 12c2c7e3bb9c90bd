"""The loss of REINFORCE with a baseline (Williams 1992, equation 11; Machine Learning 8).

    L = -E[(R - b) log pi(a)] - c_e E[H]

Its gradient is minus the policy gradient as long as the tokens come from the policy itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from parley.platform.engine.rllib.ppo_loss import PPOTerms


def compute_reinforce_loss(
    logits: Tensor,
    actions: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    *,
    entropy_coefficient: float,
) -> PPOTerms:
    """The loss over B draws; the terms that it does not have are zero.

    Args:
        logits: of the actions now, [B, A].
        actions: int64 [B].
        old_logps: as sampled, [B]; only for the reported divergence.
        advantages: R - b, [B].
        entropy_coefficient: c_e.
    """
    log_probs = torch.log_softmax(logits, dim=-1)
    drawn = log_probs.gather(1, actions.unsqueeze(1)).squeeze(1)
    policy_loss = -(advantages * drawn).mean()
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    total = policy_loss - entropy_coefficient * entropy
    zero = torch.zeros_like(policy_loss)
    with torch.no_grad():
        log_ratio = drawn - old_logps
        kl = (log_ratio.exp() - 1 - log_ratio).mean()
    return PPOTerms(total, policy_loss, zero, entropy, kl, zero)
