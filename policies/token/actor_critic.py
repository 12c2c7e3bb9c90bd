"""Policies over token windows: which action to take, and how much return to expect.

A policy sees a window of tokens and gives a logit per action and a value. It is plain torch:
RLlib's module (`rl_module`), evaluation and rendering all run this one forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM, parameter_groups

RESET = 0
"""The token that opens an episode; in a window, what stands before the last one is padding."""


class ActorCritic(Protocol):
    """What every token policy offers."""

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens int64 [B, L] to action logits [B, A] and values [B]."""
        ...


class LanguageActorCritic(nn.Module):
    """A causal language model as a policy: its next-token logits over the action tokens.

    The value is a linear reading of the hidden state at the last token.

    Args:
        language_model: the model; its output embedding decides between the action tokens.
        action_tokens: ids of the A action tokens, in the order of the actions.
    """

    def __init__(
        self, language_model: DHMMGPT2ForCausalLM, action_tokens: Sequence[int] = (2, 3)
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.action_tokens = list(action_tokens)
        self.value_head = nn.Linear(language_model.config.embed_size, 1)
        nn.init.normal_(self.value_head.weight, std=0.02)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens int64 [B, L] to action logits [B, A] and values [B]."""
        hidden = self.read_window(tokens)
        embeddings = self.language_model.lm_head.weight[self.action_tokens]
        return F.linear(hidden, embeddings), self.value_head(hidden).squeeze(-1)

    def next_token_logits(self, tokens: Tensor) -> Tensor:
        """The logits [B, V] of the token that follows the window, before any masking."""
        logits: Tensor = self.language_model.lm_head(self.read_window(tokens))
        return logits

    def read_window(self, tokens: Tensor) -> Tensor:
        """The hidden state [B, D] at the last token, padding left out."""
        output = self.language_model.transformer(
            tokens, attention_mask=padding_mask(tokens), last_only=True
        )
        hidden: Tensor = output.last_hidden_state[:, -1]
        return hidden


def padding_mask(tokens: Tensor) -> Tensor | None:
    """Mask int64 [B, L]: 1 from the last RESET of a window on; None where nothing is padding."""
    is_reset = tokens == RESET
    if not is_reset[:, 1:].any():
        return None
    num_resets_ahead = is_reset.flip(1).cumsum(1).flip(1) - is_reset.long()
    return (num_resets_ahead == 0).long()


def build_language_policy(config: DHMMGPT2Config) -> LanguageActorCritic:
    """A freshly drawn language-model policy; zero filter heads make it a plain GPT-2."""
    return LanguageActorCritic(DHMMGPT2ForCausalLM(config))


def optimiser_groups(
    policy: nn.Module, learning_rate: float, weight_decay: float, filter_lr_scale: float
) -> list[dict[str, Any]]:
    """Parameter groups with an `lr_scale` each, so that a schedule can move all of them."""
    groups = parameter_groups(policy, learning_rate, weight_decay, filter_lr_scale)
    for group in groups:
        group["lr_scale"] = group["lr"] / learning_rate
    return groups
