"""Log-probabilities of targets and what TRL reports beside them, from hidden states."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class TargetScores(NamedTuple):
    """What a model makes of T targets."""

    log_probs: Tensor
    """float32 [T]: of each target; the only one with a gradient."""
    entropies: Tensor
    """float32 [T]: of the distributions that they are drawn from, in nats."""
    mean_logits: Tensor
    """float32 [T]: mean over the vocabulary."""
    is_top: Tensor
    """bool [T]: whether no token is likelier than the target."""


def score_targets(
    hidden: Tensor, weight: Tensor | None, bias: Tensor | None, targets: Tensor
) -> TargetScores:
    """Scores of `targets` int64 [T] given hidden states [T, D] and an output layer [V, D], [V].

    Args:
        hidden: where `weight` is None, logits [T, V].
        weight: of the output layer.
        bias: of the output layer, where it has one.
        targets: the tokens.
    """
    logits = hidden if weight is None else F.linear(hidden, weight, bias)
    log_probs = torch.log_softmax(logits.float(), -1)
    taken = log_probs.gather(-1, targets[:, None]).squeeze(-1)
    with torch.no_grad():
        entropies = -(log_probs.exp() * log_probs).sum(-1)
        return TargetScores(taken, entropies, logits.float().mean(-1), taken >= log_probs.amax(-1))
