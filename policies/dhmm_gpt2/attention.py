"""Causal self-attention over a piece of a sequence, and what the blocks of one pass share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache

from parley.policies.dhmm_gpt2.configuration import DHMMGPT2Config
from parley.policies.dhmm_gpt2.rotary import rotate

SHORT_STEPS = 32
"""Up to so many steps whole matrices of weights take less time than the fused kernel's blocks."""


@dataclass
class Step:
    """What the blocks of one forward pass share."""

    valid: Tensor | None  # bool [B, T]: False at padding of this piece
    allowed: Tensor | None  # bool [B or 1, 1, T, past + T]: who may look at whom; None: see causal
    causal: bool  # plain causal attention, no mask needed
    rotation: Tensor | None  # [2, B or 1, 1, T, D / heads]: see `rotary.rotation_of`
    cache: Cache | None
    generator: torch.Generator | None


class CausalAttention(nn.Module):
    """Multi-head self-attention over the past, as in GPT-2."""

    def __init__(self, config: DHMMGPT2Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = config.heads
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.embed_size, 3 * config.embed_size)
        self.proj = nn.Linear(config.embed_size, config.embed_size)

    def forward(self, hidden: Tensor, step: Step) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        batch, steps, width = hidden.shape
        qkv = self.qkv(hidden).view(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, T, D / heads]
        if step.rotation is not None:
            query, key = rotate(query, step.rotation), rotate(key, step.rotation)
        if step.cache is not None:
            key, value = step.cache.update(key, value, self.layer)
        mixed = self._attend(query, key, value, step.allowed, step.causal)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, steps, width))
        return out

    def read_last(self, hidden: Tensor, step: Step) -> Tensor:
        """As `forward`, for the last position only: [B, T, D] to [B, 1, D]."""
        batch, steps, width = hidden.shape
        of_query, of_rest = self.qkv.weight.split([width, 2 * width])
        query_bias, rest_bias = self.qkv.bias.split([width, 2 * width])
        query = F.linear(hidden[:, -1], of_query, query_bias)
        rest = F.linear(hidden, of_rest, rest_bias)
        key, value = rest.view(batch, steps, 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        query = query.view(batch, 1, self.heads, -1).transpose(1, 2)
        if step.rotation is not None:
            query, key = rotate(query, step.rotation[..., -1:, :]), rotate(key, step.rotation)
        if step.cache is not None:
            key, value = step.cache.update(key, value, self.layer)
        allowed = None if step.allowed is None else step.allowed[:, :, -1:]
        mixed = self._attend(query, key, value, allowed, causal=False)
        out: Tensor = self.proj(mixed.reshape(batch, 1, width))
        return out

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, causal: bool
    ) -> Tensor:
        """Queries [B, heads, T, W] over keys and values [B, heads, L, W] to [B, heads, T, W]."""
        dropout = self.dropout if self.training else 0.0
        is_short = causal and query.shape[2] <= SHORT_STEPS
        if is_short and query.device.type == "cpu" and not dropout:
            return attend_short(query, key, value)
        return F.scaled_dot_product_attention(query, key, value, allowed, dropout, is_causal=causal)


def attend_short(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention over few steps, all [B, heads, T, W], with all T x T weights in memory.

    On a CPU, forward and backward, about half the time of the fused kernel at T = 16 and 24.
    """
    shape = query.shape
    queries, keys, values = (heads.reshape(-1, *shape[2:]) for heads in (query, key, value))
    future = torch.full((shape[2], shape[2]), -torch.inf, dtype=query.dtype).triu(1)
    scores = torch.baddbmm(future, queries, keys.transpose(1, 2), alpha=1 / math.sqrt(shape[-1]))
    return torch.bmm(scores.softmax(-1), values).view(shape)
