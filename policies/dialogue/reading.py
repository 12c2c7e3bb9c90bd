"""Reading histories: hidden states of many dialogues, with and without memory of earlier turns.

Owns the way from token ids to hidden states. `CachedReader` keeps the keys and values of what it
has read and reads only what is new; `RereadingReader` serves models whose memory is not keys and
values, and reads everything again at every token. Neither knows of sampling.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from parley.policies.dialogue.cache import RowCache
from parley.policies.dialogue.gpt2_network import GPT2Network, is_plain_gpt2
from parley.policies.dialogue.output_head import find_base_model

Ids = NDArray[np.integer[Any]]

_PASS_OVERHEAD_TOKENS = 128
"""A forward pass more costs about as much as so many tokens of padding."""


class Reader(Protocol):
    """Hidden states of the dialogues of one model."""

    forward_s: float
    """Seconds in the model's forward passes so far."""

    def read(
        self, rows: Sequence[int], histories: Sequence[Ids], num_scored: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Read histories to their ends.

        Returns:
            The hidden states [R, D] at their last tokens, and those [sum(num_scored), D] that
            predict the last `num_scored[i]` tokens of each.
        """
        ...

    def copy(self, row: int, others: Sequence[int]) -> None:
        """The rows `others` hold what `row` holds, as if each had read it."""
        ...

    def start(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """These rows speak next.

        Returns:
            The order in which `step` takes their tokens: places in `rows`.
        """
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Read a token int64 [A] of each speaking row; hidden states [A, D]."""
        ...

    def narrow(self, still: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Only the rows marked in `still` [A] go on speaking.

        Returns:
            For each row that goes on, in the new order, its place [A'] in the old order.
        """
        ...

    def forget(self, rows: Sequence[int]) -> None:
        """Hold nothing of these rows."""
        ...

    def release(self) -> None:
        """Hold nothing, and give the memory back."""
        ...


class CachedReader:
    """Reads each token once, as long as histories only grow.

    Args:
        model: a causal language model whose memory is keys and values.
        num_rows: dialogues.
        context: longest history.
    """

    def __init__(self, model: PreTrainedModel, num_rows: int, context: int) -> None:
        self.cache = RowCache(num_rows, context)
        self.forward_s = 0.0
        self._device = model.device
        self._network = GPT2Network(model) if is_plain_gpt2(model) else Network(model)
        self._lowest = torch.finfo(model.dtype).min
        self._dtype = model.dtype
        self._slots = np.arange(num_rows)  # of each row
        self._rows = np.arange(num_rows)  # in each slot
        self._ids: NDArray[np.int32] = np.zeros((num_rows, context), np.int32)  # by row
        self._columns = torch.arange(context, device=self._device)
        self._positions = torch.zeros(0, dtype=torch.int64, device=self._device)  # [A]
        self._active = self._columns[:0]

    def read(
        self, rows: Sequence[int], histories: Sequence[Ids], num_scored: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """See `Reader.read`."""
        wanted = np.array([max(1, n + 1) for n in num_scored], np.int64)
        kept = np.array(
            [
                min(self._count_known(row, history), len(history) - wanted_here)
                for row, history, wanted_here in zip(rows, histories, wanted, strict=True)
            ],
            np.int64,
        )
        num_new = np.array([len(history) for history in histories]) - kept
        self.cache.lengths[self._slots[list(rows)]] = kept
        self.cache.reserve(max(len(history) for history in histories))
        pieces: dict[int, Tensor] = {}
        for group in _group_by_length(num_new):
            hidden = self._read_group(
                [rows[i] for i in group], [histories[i][kept[i] :] for i in group]
            )
            for place, i in enumerate(group):
                pieces[i] = hidden[place, num_new[i] - wanted[i] : num_new[i]]
        last = torch.stack([pieces[i][-1] for i in range(len(rows))])
        return last, torch.cat([pieces[i][:n] for i, n in enumerate(num_scored)])

    def _count_known(self, row: int, history: Ids) -> int:
        """The tokens of a history that the cache holds: the longest common beginning."""
        length = min(int(self.cache.lengths[self._slots[row]]), len(history))
        same = self._ids[row, :length] == history[:length]
        return length if same.all() else int(same.argmin())

    def _read_group(self, rows: Sequence[int], news: Sequence[Ids]) -> Tensor:
        """Read new tokens of some rows, padded to the longest: hidden states [R, T, D]."""
        slots = self._slots[list(rows)]
        starts = self.cache.lengths[slots]
        num_new = np.array([len(new) for new in news], np.int64)
        tokens = np.zeros((len(rows), num_new.max()), np.int64)
        for i, (row, new) in enumerate(zip(rows, news, strict=True)):
            tokens[i, : len(new)] = new
            self._ids[row, starts[i] : starts[i] + len(new)] = new
        positions = starts[:, None] + np.arange(num_new.max())
        self.cache.aim_at_tokens(slots, num_new, self._device)
        # A padded place may look anywhere as long as it sees something; its outcome is not used.
        positions = np.minimum(positions, self.cache.seen - 1)
        places = torch.from_numpy(positions).to(self._device)
        return self._forward(torch.from_numpy(tokens).to(self._device), places)

    def _forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens and their positions [R, T] to hidden states [R, T, D]."""
        mask = torch.zeros(
            (*tokens.shape, self.cache.seen), dtype=self._dtype, device=self._device
        ).masked_fill_(
            self._columns[: self.cache.seen] > positions[..., None],
            self._lowest,
        )
        started = _now(self._device)
        hidden = self._network(tokens, positions, mask[:, None], self.cache)
        self.forward_s += _now(self._device) - started
        return hidden

    def copy(self, row: int, others: Sequence[int]) -> None:
        """See `Reader.copy`."""
        self.cache.copy(int(self._slots[row]), self._slots[list(others)])
        self._ids[list(others)] = self._ids[row]

    def start(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """See `Reader.start`."""
        slots = self._slots[list(rows)]
        is_taken = np.zeros(self.cache.num_rows, np.bool_)
        is_taken[slots] = True
        outside = slots[slots >= len(rows)]
        self._swap(np.flatnonzero(~is_taken[: len(rows)]), outside)
        self._set_active(len(rows))
        return np.argsort(self._slots[list(rows)])

    def step(self, tokens: Tensor) -> Tensor:
        """See `Reader.step`."""
        num_active = len(tokens)
        self.cache.reserve(int(self.cache.lengths[:num_active].max()) + 1)
        ids = tokens.cpu().numpy()
        self._ids[self._rows[:num_active], self.cache.lengths[:num_active]] = ids
        self.cache.aim_at_step(self._active, self._positions)
        hidden = self._forward(tokens[:, None], self._positions[:, None])
        self._positions = self._positions + 1
        return hidden[:, 0]

    def narrow(self, still: NDArray[np.bool_]) -> NDArray[np.int64]:
        """See `Reader.narrow`."""
        num_still = int(still.sum())
        holes = np.flatnonzero(~still[:num_still])
        movers = np.flatnonzero(still[num_still:]) + num_still
        order = np.arange(num_still)
        order[holes] = movers
        self._swap(holes, movers)
        self._set_active(num_still)
        return order

    def forget(self, rows: Sequence[int]) -> None:
        """See `Reader.forget`."""
        self.cache.lengths[self._slots[list(rows)]] = 0

    def release(self) -> None:
        """See `Reader.release`."""
        self.cache.release()

    def _swap(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
        self.cache.swap(a, b)
        here, there = np.concatenate([a, b]), np.concatenate([b, a])
        self._rows[here] = self._rows[there]
        self._slots[self._rows[here]] = here

    def _set_active(self, num_active: int) -> None:
        self._active = torch.arange(num_active, device=self._device)
        self._positions = torch.from_numpy(self.cache.lengths[:num_active]).to(
            self._device, copy=True
        )


class RereadingReader:
    """Reads every history from its beginning at every token: right for any causal model, slow.

    Args:
        model: a causal language model; padding behind a history must not change what it makes of
            the history.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.forward_s = 0.0
        self._device = model.device
        self._base = find_base_model(model)
        self._histories: dict[int, list[int]] = {}
        self._speaking: list[int] = []

    def read(
        self, rows: Sequence[int], histories: Sequence[Ids], num_scored: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """See `Reader.read`."""
        for row, history in zip(rows, histories, strict=True):
            self._histories[row] = [int(token) for token in history]
        hidden = self._forward(rows)
        ends = [len(history) for history in histories]
        last = torch.stack([hidden[i, end - 1] for i, end in enumerate(ends)])
        scored = [
            hidden[i, end - n - 1 : end - 1]
            for i, (end, n) in enumerate(zip(ends, num_scored, strict=True))
        ]
        return last, torch.cat(scored)

    def copy(self, row: int, others: Sequence[int]) -> None:
        """See `Reader.copy`."""
        for other in others:
            self._histories[other] = list(self._histories[row])

    def start(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """See `Reader.start`."""
        self._speaking = list(rows)
        return np.arange(len(rows))

    def step(self, tokens: Tensor) -> Tensor:
        """See `Reader.step`."""
        for row, token in zip(self._speaking, tokens.tolist(), strict=True):
            self._histories[row].append(token)
        hidden = self._forward(self._speaking)
        ends = [len(self._histories[row]) for row in self._speaking]
        return torch.stack([hidden[i, end - 1] for i, end in enumerate(ends)])

    def narrow(self, still: NDArray[np.bool_]) -> NDArray[np.int64]:
        """See `Reader.narrow`."""
        order = np.flatnonzero(still)
        self._speaking = [self._speaking[i] for i in order]
        return order

    def forget(self, rows: Sequence[int]) -> None:
        """See `Reader.forget`."""
        for row in rows:
            self._histories.pop(row, None)

    def release(self) -> None:
        """See `Reader.release`."""
        self._histories.clear()

    def _forward(self, rows: Sequence[int]) -> Tensor:
        started = _now(self._device)
        histories = [self._histories[row] for row in rows]
        longest = max(map(len, histories))
        tokens = torch.tensor([h + [0] * (longest - len(h)) for h in histories])
        hidden = self._base(input_ids=tokens.to(self._device), use_cache=False).last_hidden_state
        self.forward_s += _now(self._device) - started
        return cast(Tensor, hidden)


class Network:
    """Any transformers model between embedding and output head, called with a `RowCache`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._base = find_base_model(model)

    def __call__(self, tokens: Tensor, positions: Tensor, mask: Tensor, cache: RowCache) -> Tensor:
        """Tokens, positions [R, T], additive mask [R, 1, T, L] to hidden states [R, T, D]."""
        output = self._base(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        )
        return cast(Tensor, output.last_hidden_state)


def _group_by_length(num_new: NDArray[np.int64]) -> list[list[int]]:
    """Indices of rows to read together: one pass, but long and short ones apart where it pays."""
    order = [int(i) for i in np.argsort(-num_new, kind="stable")]
    groups: list[list[int]] = [[order[0]]]
    for place, i in enumerate(order[1:], start=1):
        padding = (num_new[groups[-1][0]] - num_new[i]) * (len(order) - place)
        if padding > _PASS_OVERHEAD_TOKENS:
            groups.append([])
        groups[-1].append(i)
    return [sorted(group) for group in groups]


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
