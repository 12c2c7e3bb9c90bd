"""The small baseline: a two-layer perceptron on one-hot tokens, actor and critic apart.

A one-hot input times a matrix is a row of it: the first layer is one embedding per (position,
token), summed. It is a transformers model for its configuration and its files only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers import initialization as init

from parley.policies.token.actor_critic import Settings
from parley.policies.token.weight_files import load_weights


class TokenMLPConfig(PretrainedConfig):
    """Sizes of a `TokenMLP`.

    vocab_size: number of token ids.
    num_tokens: length L of the window.
    hidden_size: width of both hidden layers.
    num_actions: actions A.
    acting: what one has to know to play with the policy, as plain data; nothing here reads it.
    """

    model_type = "token_mlp"

    vocab_size: int = 44
    num_tokens: int = 5
    hidden_size: int = 64
    num_actions: int = 2
    acting: dict[str, Any] | None = None


class _Tower(nn.Module):
    """Sum of token embeddings, two tanh layers, a linear output."""

    def __init__(self, config: TokenMLPConfig, num_outputs: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.embedding = nn.EmbeddingBag(config.vocab_size * config.num_tokens, width, mode="sum")
        self.bias = nn.Parameter(torch.zeros(width))
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, num_outputs)

    def forward(self, indices: Tensor) -> Tensor:
        """Indices int64 [B, L] of (position, token) to outputs [B, num_outputs]."""
        first = torch.tanh(self.embedding(indices) + self.bias)
        out: Tensor = self.output(torch.tanh(self.hidden(first)))
        return out


class TokenMLP(PreTrainedModel):
    """Action logits and values from a window of tokens."""

    config_class = TokenMLPConfig
    config: TokenMLPConfig

    def __init__(self, config: TokenMLPConfig) -> None:
        super().__init__(config)
        self.actor = _Tower(config, config.num_actions)
        self.critic = _Tower(config, 1)
        self.offsets: Tensor
        self.register_buffer("offsets", self.token_offsets(), persistent=False)
        self.post_init()

    def token_offsets(self) -> Tensor:
        """Where the embeddings of each position begin, int64 [L]."""
        return torch.arange(self.config.num_tokens) * self.config.vocab_size

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.EmbeddingBag):
            init.normal_(module.weight, std=0.5)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.zeros_(module.bias)
        elif isinstance(module, TokenMLP):
            init.normal_(module.actor.output.weight, std=0.01)
            init.copy_(module.offsets, module.token_offsets())

    def forward(self, tokens: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        """Tokens int64 [B, L] to action logits [B, A] and values [B]."""
        indices = tokens + self.offsets
        return self.actor(indices), self.critic(indices).squeeze(-1)

    def save_files(self, folder: Path) -> None:
        """Write the model as transformers does."""
        self.save_pretrained(folder)


def build_mlp(settings: Settings) -> TokenMLP:
    """A perceptron with fresh weights, for windows of `num_tokens`."""
    return TokenMLP(
        TokenMLPConfig(
            vocab_size=settings["vocab_size"],
            num_tokens=settings["num_tokens"],
            acting=settings.get("acting"),
        )
    )


def load_mlp(folder: Path) -> TokenMLP:
    """A saved one.

    Raises:
        ValueError: a file is missing, damaged, or of another model.
    """
    model = TokenMLP(TokenMLPConfig.from_pretrained(folder))
    load_weights(model, folder / "model.safetensors")
    model.eval()
    return model
