"""Whole rows of tokens through a language model: logits and values of chosen places.

One forward pass over a row gives what a policy said at each of its own tokens, where a pass per
token would read the row again and again.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel

TOKENS, POSITIONS, VALID = "tokens", "positions", "valid"
"""Columns of a batch; see `score_rows`."""


def score_rows(
    language_model: PreTrainedModel,
    head: nn.Module,
    value_head: nn.Module,
    tokens: Tensor,
    positions: Tensor,
    valid: Tensor,
) -> tuple[Tensor, Tensor]:
    """Logits and values of the N chosen states, row by row.

    The state of a token is what stands before it. Its value is read from the hidden state from
    which the token is predicted, and moves the head alone.

    Args:
        language_model: any causal language model of transformers.
        head: hidden states [N, D] to its logits [N, V].
        value_head: [N, D] to [N, 1].
        tokens: int64 [R, T], padded behind, where causal attention does not look.
        positions: int64 [R, A]: where the token before each chosen one stands.
        valid: bool [R, A]: which of them are meant; N in all.

    Returns:
        Logits [N, V] and values [N].
    """
    hidden = language_model.base_model(tokens, use_cache=False).last_hidden_state
    rows, columns = valid.nonzero(as_tuple=True)
    chosen = hidden[rows, positions[rows, columns]]  # [N, D]
    return head(chosen), value_head(chosen.detach()).squeeze(-1)
