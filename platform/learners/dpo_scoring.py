"""What a model makes of given responses: log-probabilities, exact divergence on samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from parley.platform.learners.dpo_batches import pack_pairs, plan_scoring
from parley.platform.learners.dpo_data import TokenPairs
from parley.platform.learners.dpo_forward import ResponseForward, evaluating

SCORING_TOKENS = 8_192
"""Tokens of one forward pass that measures, padding included."""


@torch.no_grad()
def reference_log_probs(
    model: nn.Module, pairs: TokenPairs, batch_tokens: int = SCORING_TOKENS
) -> NDArray[np.float64]:
    """The log-probability of each chosen and rejected response given its prompt, float64 [N, 2].

    In the model's own number format, without dropout, rows sorted by length.
    """
    forward = ResponseForward(model)
    device = next(model.parameters()).device
    sums = np.zeros((len(pairs), 2))
    with evaluating(model):
        for chosen in plan_scoring(pairs, batch_tokens):
            packed = pack_pairs(pairs, chosen, forward.shares_prompts)
            log_probs = forward.score(packed.to(device)).log_probs.double().cpu()
            padded = torch.cat([log_probs, log_probs.new_zeros(1)])
            both = padded[packed.places].sum(1)  # [2B]
            sums[chosen] = both.view(2, -1).T.numpy()
    return sums


def completion_log_probs(
    model: nn.Module, pairs: TokenPairs, batch_tokens: int = SCORING_TOKENS
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log-probabilities float64 [N, 2] of chosen and rejected, and their tokens int64 [N, 2].

    Implicit rewards are beta times the difference to the reference's; the perplexity of the chosen
    responses is exp(-sum of the first column / sum of its tokens).
    """
    return reference_log_probs(model, pairs, batch_tokens), pairs.response_lengths
