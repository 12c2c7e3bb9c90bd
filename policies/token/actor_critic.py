"""Policies over token windows: which action to take, and how much return to expect.

A policy sees a window of tokens and gives a logit per action and a value. It is plain torch:
RLlib's modules (`window_module`, `row_module`), evaluation and rendering run this one forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM, parameter_groups
from parley.policies.dhmm_gpt2.loading import load_dhmm_gpt2
from parley.policies.token.weight_files import load_weights

Settings = Mapping[str, Any]
"""`vocab_size`, `num_tokens` (of a window), for language models `DHMMGPT2Config`'s sizes, and where
it is known `acting`: what one has to know to play with the policy."""
VALUE_HEAD_FILE = "value_head.safetensors"

RESET = 0
"""The token that opens an episode; in a window, what stands before the last one is padding."""


class ActorCritic(Protocol):
    """What every token policy offers."""

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens int64 [B, L] to action logits [B, A] and values [B]."""
        ...

    def save_files(self, folder: Path) -> None:
        """Write what its `load` of the table reads."""
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

    def save_files(self, folder: Path) -> None:
        """Write the language model as transformers does, and the value head next to it."""
        self.language_model.save_pretrained(folder)
        head = {name: t.contiguous() for name, t in self.value_head.state_dict().items()}
        save_file(head, folder / VALUE_HEAD_FILE)

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


def build_dhmm_gpt2(settings: Settings) -> LanguageActorCritic:
    """DHMM-GPT2 with fresh weights."""
    sizes = {key: value for key, value in settings.items() if key != "num_tokens"}
    return build_language_policy(DHMMGPT2Config(**sizes))


def build_gpt2(settings: Settings) -> LanguageActorCritic:
    """The same without filter heads."""
    return build_dhmm_gpt2({**settings, "counter_heads": 0, "filter_heads": 0})


def load_language_policy(folder: Path) -> LanguageActorCritic:
    """A saved policy; a language model alone gets a fresh value head.

    Raises:
        ValueError: a file is missing, damaged, or of another model.
    """
    policy = LanguageActorCritic(load_dhmm_gpt2(folder))
    head_file = folder / VALUE_HEAD_FILE
    if head_file.exists():
        load_weights(policy.value_head, head_file)
    return policy


def optimiser_groups(
    policy: nn.Module, learning_rate: float, weight_decay: float, filter_lr_scale: float
) -> list[dict[str, Any]]:
    """Parameter groups with an `lr_scale` each, so that a schedule can move all of them."""
    groups = parameter_groups(policy, learning_rate, weight_decay, filter_lr_scale)
    for group in groups:
        group["lr_scale"] = group["lr"] / learning_rate
    return groups
