"""A policy that answers alike whatever it sees; its one bias is learned."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from parley.policies.token.actor_critic import Settings


class Constant(nn.Module):
    """Two logits and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(2))
        self.value = nn.Parameter(torch.zeros(()))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens int64 [B, L] to action logits [B, 2] and values [B]."""
        return self.logits.expand(len(tokens), 2), self.value.expand(len(tokens))

    def save_files(self, folder: Path) -> None:
        """Write what `load_constant` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "constant"}))
        save_file(self.state_dict(), folder / "model.safetensors")


def build_constant(settings: Settings) -> Constant:
    """With fresh weights."""
    return Constant()


def load_constant(folder: Path) -> Constant:
    """A saved one."""
    policy = Constant()
    policy.load_state_dict(load_file(folder / "model.safetensors"))
    return policy
