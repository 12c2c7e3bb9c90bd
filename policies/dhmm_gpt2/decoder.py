"""Reading on by one token for every row: the network as the few dozen operations it is.

A small model that reads one token spends more time between its operations than in them. This
reader computes what the model computes (a test holds them together) from the same modules, without
their calling conventions, and keeps keys and values in memory that is taken once. Nothing is
differentiated, and there is no padding: all rows have the same length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.cache_utils import DynamicLayer

from parley.policies.dhmm_gpt2.cache import DHMMGPT2Cache
from parley.policies.dhmm_gpt2.filter import BeliefFilter
from parley.policies.dhmm_gpt2.model import Block, DHMMGPT2Model
from parley.policies.dhmm_gpt2.rotary import rotate, rotation_of

BATCHED_PRODUCT_MIN = 400
"""Below so many multiplications a product, torch's batched product on a CPU takes a loop of its
own, which is slower than the fused kernel."""

Map = Callable[[Tensor], Tensor]


class Decoder:
    """The state of R rows of L tokens each, and the way to the next.

    Args:
        model: the network, in evaluation mode; its weights must not change meanwhile.
        prompts: int64 [R, L >= 1]; read at once.
        room: the most tokens of a row.

    Attributes:
        hidden: [R, D], at the last tokens.
    """

    def __init__(self, model: DHMMGPT2Model, prompts: Tensor, room: int) -> None:
        cache = DHMMGPT2Cache(config=model.config)
        output = model(prompts, past_key_values=cache, last_only=True)
        self.hidden: Tensor = output.last_hidden_state[:, -1]
        self._length = prompts.shape[1]
        self._embedding = model.token_embedding.weight
        self._norm: Map = model.norm.forward
        self._rotations: Tensor | None = None
        if model.rotary_width:
            places = torch.arange(room, device=prompts.device).unsqueeze(0)
            rotations = rotation_of(places, model.rotary_width, self.hidden.dtype)
            self._rotations = rotations.squeeze(1)  # [2, 1, room, W]
        self._positions = (
            None if model.position_embedding is None else model.position_embedding.weight
        )
        self._layers = [
            _Layer.from_block(block, layer, room)
            for block, layer in zip(model.blocks, cache.layers, strict=True)
            if isinstance(block, Block) and isinstance(layer, DynamicLayer)
        ]
        self._beliefs = [cache.beliefs.get(index) for index in range(len(self._layers))]

    def read(self, tokens: Tensor) -> Tensor:
        """Read a token int64 [R] of each row; gives `hidden`."""
        hidden = F.embedding(tokens, self._embedding)
        if self._positions is not None:
            hidden = hidden + self._positions[self._length]
        rotation = None
        if self._rotations is not None:
            rotation = self._rotations[:, :, self._length]  # [2, 1, W]
        self._length += 1
        for index, layer in enumerate(self._layers):
            belief = self._beliefs[index]
            if layer.filter is not None and belief is not None:
                hidden, self._beliefs[index] = layer.filter.step(hidden, belief)
            hidden = layer.read(hidden, self._length, rotation)
        self.hidden = self._norm(hidden)
        return self.hidden

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone, int64 [R'], ascending."""
        self.hidden = self.hidden[rows]
        self._layers = [layer.keep(rows, self._length) for layer in self._layers]
        self._beliefs = [None if belief is None else belief[rows] for belief in self._beliefs]


class _Layer(NamedTuple):
    """A block's maps, and the memory of its attention."""

    filter: BeliefFilter | None
    norm_1: Map
    qkv: Map
    proj: Map
    norm_2: Map
    up: Map
    down: Map
    heads: int
    keys: Tensor
    """[R, heads, room, W]"""
    values: Tensor
    """[R, heads, room, W]"""

    @classmethod
    def from_block(cls, block: Block, held: DynamicLayer, room: int) -> _Layer:
        """The block with the keys and values [R, heads, L, W] that a cache holds in its memory."""
        keys, values = held.keys, held.values
        assert keys is not None and values is not None
        rows, heads, length, width = keys.shape
        store = keys.new_empty(2, rows, heads, room, width)
        layer = cls(
            block.filter,
            block.norm_1.forward,
            block.attention.qkv.forward,
            block.attention.proj.forward,
            block.norm_2.forward,
            block.up.forward,
            block.down.forward,
            heads,
            store[0],
            store[1],
        )
        layer.keys[:, :, :length] = keys
        layer.values[:, :, :length] = values
        return layer

    def read(self, hidden: Tensor, length: int, rotation: Tensor | None) -> Tensor:
        """Attention and feed-forward, [R, D] to [R, D], for the last of `length` tokens."""
        rows, width = hidden.shape
        qkv = self.qkv(self.norm_1(hidden)).view(rows, 3, self.heads, -1)
        query, key, value = qkv.unbind(1)  # [R, heads, W]
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        self.keys[:, :, length - 1] = key
        self.values[:, :, length - 1] = value
        mixed = attend_once(query, self.keys[:, :, :length], self.values[:, :, :length])
        hidden = hidden + self.proj(mixed.reshape(rows, width))
        inner = F.gelu(self.up(self.norm_2(hidden)), approximate="tanh")
        return hidden + self.down(inner)

    def keep(self, rows: Tensor, length: int) -> _Layer:
        """The layer with these rows alone, in the memory it has."""
        keys, values = self.keys[: len(rows)], self.values[: len(rows)]
        keys[:, :, :length] = self.keys[rows, :, :length]
        values[:, :, :length] = self.values[rows, :, :length]
        return self._replace(keys=keys, values=values)


def attend_once(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of one query for each row and head.

    On a CPU two batched products take about two thirds of the time of torch's fused kernel, which
    is made for many queries.

    Args:
        query: [R, heads, W].
        keys, values: [R, heads, L, W].

    Returns:
        [R, heads, W].
    """
    shape = query.shape
    is_batched = keys.device.type == "cpu" and keys.shape[2] * shape[-1] >= BATCHED_PRODUCT_MIN
    if not is_batched:
        return F.scaled_dot_product_attention(query.unsqueeze(2), keys, values).squeeze(2)
    queries = (query * (1 / math.sqrt(shape[-1]))).reshape(-1, 1, shape[-1])
    weights = torch.bmm(queries, keys.flatten(0, 1).transpose(1, 2)).softmax(-1)
    return torch.bmm(weights, values.flatten(0, 1)).view(shape)
