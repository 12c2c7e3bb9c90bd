"""A dialogue policy: a causal language model, and a value of every state of a reply."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel


class DialogueActorCritic(nn.Module):
    """Next-token logits and values over whole dialogues, as learners need them.

    The state of token t is what stands before it; its value is a linear reading of the hidden
    state from which the token is predicted. The head starts at zero: at first nothing is known.

    Args:
        language_model: any causal language model of transformers.
    """

    def __init__(self, language_model: PreTrainedModel) -> None:
        super().__init__()
        self.language_model = language_model
        embeddings = language_model.get_output_embeddings()
        self.value_head = nn.Linear(embeddings.weight.shape[1], 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, tokens: Tensor, positions: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and values of the N chosen states, row by row.

        Args:
            tokens: int64 [R, T], padded behind, where causal attention does not look.
            positions: int64 [R, A]: where the token before each chosen one stands.
            valid: bool [R, A]: which of them are meant; N in all.

        Returns:
            Logits [N, V] and values [N].
        """
        hidden = self.language_model.base_model(tokens, use_cache=False).last_hidden_state
        rows, columns = valid.nonzero(as_tuple=True)
        chosen = hidden[rows, positions[rows, columns]]  # [N, D]
        logits = self.language_model.get_output_embeddings()(chosen)
        return logits, self.value_head(chosen.detach()).squeeze(-1)
