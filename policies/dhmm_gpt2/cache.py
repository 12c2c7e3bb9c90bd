"""The state of incremental decoding: the keys and values of attention, and the carried beliefs."""

from __future__ import annotations

from typing import Any

import torch
from torch import LongTensor, Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer in memory that is taken once, not copied at every token.

    Keys lie with time innermost: on a CPU one query over them takes half the time.

    Args:
        room: the most tokens that it can hold.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._stores: list[Tensor] = []  # keys, values: each [B, heads, room, W], seen so

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Hold keys and values [B, heads, T, W]; give those of the whole past.

        Raises:
            ValueError: there is no room for them.
        """
        past = self.get_seq_length()
        end = past + key_states.shape[-2]
        if end > self.room:
            raise ValueError(f"{end} tokens do not fit into a cache with room for {self.room}")
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._stores = self._take_memory(key_states, len(key_states))
        keys, values = self._stores
        keys[:, :, past:end] = key_states
        values[:, :, past:end] = value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: LongTensor) -> None:
        """Keep row beam_idx[i] in row i."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times."""
        if self._stores:
            rows = torch.arange(len(self._stores[0]), device=self.device)
            self.batch_select_indices(rows.repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows `indices`."""
        past = self.get_seq_length()
        if not past:
            return
        held = [store[indices, :, :past] for store in self._stores]
        if len(held[0]) > len(self._stores[0]):
            self._stores = self._take_memory(self._stores[0], len(held[0]))
        self._stores = [store[: len(held[0])] for store in self._stores]
        for store, rows in zip(self._stores, held, strict=True):
            store[:, :, :past] = rows
        self.keys, self.values = (store[:, :, :past] for store in self._stores)

    def _take_memory(self, like: Tensor, num_rows: int) -> list[Tensor]:
        """Keys and values as `like` [B, heads, T, W], with room and so many rows."""
        heads, width = like.shape[1], like.shape[-1]
        keys = like.new_empty(num_rows, heads, width, self.room).transpose(2, 3)
        return [keys, like.new_empty(num_rows, heads, self.room, width)]


class DHMMGPT2Cache(DynamicCache):
    """A key-value cache beside one belief [B, heads, S] per filter layer.

    Args:
        room: take memory for so many tokens at once, the most that can be held; None: the memory
            grows with every token.
        args, kwargs: of transformers' `DynamicCache`.

    Attributes:
        beliefs: layer index to the belief after the last cached token.
    """

    def __init__(self, *args: Any, room: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.beliefs: dict[int, Tensor] = {}
        if room is not None:
            self.layers = [RoomyLayer(room) for _ in self.layers]

    @property
    def is_croppable(self) -> bool:
        """False once beliefs are held: a belief cannot be taken back to an earlier token."""
        return not self.beliefs and bool(super().is_croppable)

    def crop(self, tokens_to_remove: int) -> None:
        """Remove tokens from the end; possible only while no belief is held.

        Raises:
            ValueError: there are tokens to remove and beliefs that have seen them.
        """
        if tokens_to_remove and self.beliefs:
            raise ValueError(
                f"cannot crop {abs(tokens_to_remove)} tokens: the beliefs of layers "
                f"{sorted(self.beliefs)} have already absorbed them; decode again from the start"
            )
        super().crop(tokens_to_remove)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.beliefs.clear()

    def reorder_cache(self, beam_idx: LongTensor) -> None:
        """Keep row beam_idx[i] in row i, as beam search asks."""
        super().reorder_cache(beam_idx)
        self._map_beliefs(lambda belief: belief.index_select(0, beam_idx.to(belief.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times, in place."""
        super().batch_repeat_interleave(repeats)
        self._map_beliefs(lambda belief: belief.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the rows `indices`."""
        super().batch_select_indices(indices)
        self._map_beliefs(lambda belief: belief[indices])

    def _map_beliefs(self, change: Any) -> None:
        self.beliefs = {layer: change(belief) for layer, belief in self.beliefs.items()}
