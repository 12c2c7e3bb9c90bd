"""What a model makes of given responses: log-probabilities, exact divergence on samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from parley.platform.learners.dpo_batches import pack_pairs, plan_scoring
from parley.platform.learners.dpo_data import TokenPairs, TokenRows
from parley.platform.learners.dpo_forward import ResponseForward, evaluating

SCORING_TOKENS = 8_192
"""Tokens of one forward pass that measures, padding included."""


@torch.no_grad()
def response_log_probs(
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


@torch.no_grad()
def sample_kl(
    model: nn.Module,
    reference: nn.Module,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    batch_size: int = 16,
) -> float:
    """KL(model || reference) in nats per token, exact at every token of the given responses.

    An estimate of the divergence of the two as speakers where the responses are the model's own
    samples at temperature 1; on anybody else's text it is not one.

    Args:
        model: the policy.
        reference: of the same vocabulary.
        prompts: token ids of each prompt.
        responses: token ids of each response, end-of-text included.
        batch_size: responses compared together.

    Raises:
        ValueError: there is no response token.
    """
    rows = TokenRows.join(responses)
    if not len(rows.tokens):
        raise ValueError("no response tokens to compare on")
    ids = tuple(str(n) for n in range(len(rows)))
    pairs = TokenPairs(TokenRows.join(prompts), rows, rows, ids, end_token=0, fingerprint="")
    models = (ResponseForward(model), ResponseForward(reference))
    shared = all(forward.shares_prompts for forward in models)
    device = next(model.parameters()).device
    total = 0.0
    with evaluating(model), evaluating(reference):
        for first in range(0, len(pairs), batch_size):
            chosen = np.arange(first, min(first + batch_size, len(pairs)))
            packed = pack_pairs(pairs, chosen, shared).to(device)
            own, base = (
                torch.log_softmax(forward.logits(packed).float(), -1) for forward in models
            )
            # No divergence is negative; rounding is.
            divergences = (own.exp() * (own - base)).sum(-1).clamp(min=0.0).double()  # [T]
            padded = torch.cat([divergences, divergences.new_zeros(1)])
            # Equal responses to a prompt are computed once and count as often as they occur.
            total += float(padded[packed.places[: len(chosen)]].sum())
    return total / len(rows.tokens)
