"""A dialogue policy: a causal language model, and a value of every state of a reply."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel

from parley.policies.dialogue.output_head import find_head_facts, make_head
from parley.policies.rows import score_rows


class DialogueActorCritic(nn.Module):
    """Next-token logits and values over whole dialogues, as learners need them.

    The state of token t is what stands before it; its value is a linear reading of the hidden
    state from which the token is predicted. The head starts at zero: at first nothing is known.

    Args:
        language_model: any causal language model of transformers.

    Raises:
        ValueError: its logits cannot be had from its hidden states.
    """

    def __init__(self, language_model: PreTrainedModel) -> None:
        super().__init__()
        self.language_model = language_model
        self.value_head = nn.Linear(find_head_facts(language_model).width, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, tokens: Tensor, positions: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, V] and values [N] of the N chosen states; see `score_rows`."""
        head = make_head(self.language_model)
        return score_rows(self.language_model, head, self.value_head, tokens, positions, valid)
