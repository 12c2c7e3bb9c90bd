"""Losses of drawn tokens from plain columns, and gradients from plain settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from parley.platform.engine.rllib.gradients.policy_gradient import Drawn, PolicyGradient
from parley.platform.engine.rllib.gradients.ppo import PPO
from parley.platform.engine.rllib.gradients.reinforce import Reinforce
from parley.platform.engine.rllib.loss import LossTerms, compute_loss

PPO_DEFAULTS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "max_grad_norm": 0.5,
    "gamma": 1.0,
    "gae_lambda": 0.95,
    "clip": 0.2,
    "value_clip": None,
    "value_coefficient": 0.5,
    "num_epochs": 2,
}


def make_ppo(**settings: Any) -> PolicyGradient[Any]:
    return PPO(SimpleNamespace(**PPO_DEFAULTS | settings))


def make_reinforce(**settings: Any) -> PolicyGradient[Any]:
    return Reinforce(SimpleNamespace(**PPO_DEFAULTS | settings))


def compute_ppo_loss(
    logits: Tensor,
    values: Tensor,
    actions: Tensor,
    old_logps: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    value_targets: Tensor,
    *,
    entropy_coefficient: float,
    **settings: Any,
) -> LossTerms:
    """PPO's terms over N tokens."""
    valid = torch.ones(len(actions), dtype=torch.bool)
    drawn = Drawn(actions, old_logps, old_values, advantages, value_targets, valid)
    return compute_loss(make_ppo(**settings), logits, values, drawn, entropy_coefficient)


def compute_reinforce_loss(
    logits: Tensor,
    actions: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    *,
    entropy_coefficient: float,
) -> LossTerms:
    """REINFORCE's terms over N tokens."""
    nothing = torch.zeros(len(actions))
    valid = torch.ones(len(actions), dtype=torch.bool)
    drawn = Drawn(actions, old_logps, nothing, advantages, None, valid)
    return compute_loss(make_reinforce(), logits, nothing, drawn, entropy_coefficient)
