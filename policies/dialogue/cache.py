"""Keys and values of many dialogues, each of its own length, kept from one turn to the next.

Owns the memory and who lies where in it. A dialogue (row) lies in a slot; the slots of the rows
that still speak are kept at the front, so that a decoding step reads them as one view, without a
copy. Memory is slots x capacity; the capacity grows with the longest history, up to the context.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache

_GROWTH = 1.5
_FIRST_CAPACITY = 64


class RowCache(Cache):
    """A transformers cache whose rows have lengths of their own.

    Before each forward pass `aim_at_tokens` or `aim_at_step` says where the pass writes and what
    it reads; the model's layers then call `update`.

    Args:
        num_rows: slots.
        context: most tokens a slot can hold.

    Attributes:
        lengths: int64 [num_rows], the tokens held in each slot.
        stores: for each layer [num_rows, 2, heads, capacity, head size]: keys, then values.
    """

    def __init__(self, num_rows: int, context: int) -> None:
        super().__init__(layers=[])
        self.num_rows = num_rows
        self.context = context
        self.capacity = min(context, _FIRST_CAPACITY)
        self.lengths: NDArray[np.int64] = np.zeros(num_rows, np.int64)
        self.stores: list[Tensor] = []
        self._write: tuple[Tensor, ...] = ()
        self._read: slice | Tensor = slice(0, 0)
        self._seen = 0
        self._is_step = False

    @property
    def size_bytes(self) -> int:
        """Of all keys and values."""
        return sum(store.nbytes for store in self.stores)

    def reserve(self, num_tokens: int) -> None:
        """Make room for `num_tokens` in every slot; grows by half at least, never past context."""
        if num_tokens <= self.capacity:
            return
        held = int(self.lengths.max())
        self.capacity = min(self.context, max(num_tokens, int(self.capacity * _GROWTH)))
        for layer, old in enumerate(self.stores):
            shape = (*old.shape[:3], self.capacity, old.shape[4])
            new = torch.zeros(shape, dtype=old.dtype, device=old.device)
            new[:, :, :, :held] = old[:, :, :, :held]
            self.stores[layer] = new

    def aim_at_tokens(
        self, slots: NDArray[np.int64], num_new: NDArray[np.int64], device: torch.device
    ) -> None:
        """The next pass brings right-padded tokens [R, T], `num_new[i]` of them for `slots[i]`.

        They follow those already held; `lengths` counts them from now on.
        """
        starts = self.lengths[slots]
        row = np.repeat(np.arange(len(slots)), num_new)
        column = np.concatenate([np.arange(n) for n in num_new])
        places = (row, column, slots[row], starts[row] + column)
        self._write = tuple(torch.from_numpy(place).to(device) for place in places)
        self.lengths[slots] = starts + num_new
        self._seen = int(self.lengths[slots].max())
        first = int(slots[0])
        is_range = np.array_equal(slots, np.arange(first, first + len(slots)))
        self._read = (
            slice(first, first + len(slots)) if is_range else torch.from_numpy(slots).to(device)
        )
        self._is_step = False

    def aim_at_step(self, slots: Tensor, positions: Tensor) -> None:
        """The next pass brings one token for each of the first slots, int64 [A], at `positions`."""
        num_active = len(slots)
        self._write = (slots, positions)
        self.lengths[:num_active] += 1
        self._seen = int(self.lengths[:num_active].max())
        self._read = slice(0, num_active)
        self._is_step = True

    @property
    def seen(self) -> int:
        """The columns that the next pass reads: the longest of its rows, new tokens included."""
        return self._seen

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write keys and values [R, heads, T, head size]; give those of the rows' whole past.

        Where a row is shorter than the longest, the columns behind it hold anything; the caller's
        mask hides them.
        """
        if layer_idx == len(self.stores):
            _, heads, _, size = key_states.shape
            shape = (self.num_rows, 2, heads, self.capacity, size)
            self.stores.append(key_states.new_zeros(shape))
        store = self.stores[layer_idx]
        if self._is_step:
            slots, positions = self._write
            store[slots, 0, :, positions] = key_states[:, :, 0]
            store[slots, 1, :, positions] = value_states[:, :, 0]
        else:
            row, column, slots, positions = self._write
            store[slots, 0, :, positions] = key_states[row, :, column]
            store[slots, 1, :, positions] = value_states[row, :, column]
        held = store[self._read, :, :, : self._seen]
        return held[:, 0], held[:, 1]

    def swap(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
        """Exchange the slots a[i] and b[i]; no slot may be named twice."""
        if len(a) == 0:
            return
        here, there = np.concatenate([a, b]), np.concatenate([b, a])
        longest = int(self.lengths[here].max())
        self.lengths[here] = self.lengths[there]
        for store in self.stores:
            part = store[:, :, :, :longest]
            to, source = (torch.from_numpy(slots).to(store.device) for slots in (here, there))
            part[to] = part[source]

    def copy(self, source: int, slots: NDArray[np.int64]) -> None:
        """Put what the slot `source` holds into others."""
        held = int(self.lengths[source])
        self.lengths[slots] = held
        for store in self.stores:
            to = torch.from_numpy(slots).to(store.device)
            store[to, :, :, :held] = store[source, :, :, :held].clone()

    def release(self) -> None:
        """Hold nothing, and give the memory back."""
        self.lengths[:] = 0
        self.stores.clear()
        self.capacity = min(self.context, _FIRST_CAPACITY)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """As far as models ask: the columns that were there before the new tokens of a step."""
        return max(0, self._seen - 1)

    def get_max_length(self, *args: Any, **kwargs: Any) -> int:
        """The context."""
        return self.context
