"""The memory of a speaker grows with its rows and longest history, and ends at the window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from parley.policies.dialogue.cache import RowCache
from parley.policies.dialogue.reading import CachedReader
from parley.policies.dialogue.sampling import Sampling
from parley.policies.dialogue.speaker import Speaker

V, LAYERS, WIDTH, CONTEXT, END = 20, 2, 32, 512, 0
TOKEN_BYTES = LAYERS * 2 * WIDTH * 4
"""Keys and values of one token in float32."""


def make_model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    ids: dict[str, Any] = {"bos_token_id": END, "eos_token_id": END}
    sizes: dict[str, Any] = {
        "n_embd": WIDTH,
        "n_layer": LAYERS,
        "n_head": 4,
        "n_positions": CONTEXT,
    }
    return GPT2LMHeadModel(GPT2Config(vocab_size=V, **sizes, **ids)).eval()


def size_after(num_rows: int, num_tokens: int) -> int:
    """Bytes of the cache once every row has a history of `num_tokens`."""
    speaker = Speaker(make_model(), END, num_rows, Sampling())
    history = np.append(np.ones(num_tokens - 1, np.int64), END)
    speaker.score(range(num_rows), [history] * num_rows, [1] * num_rows)
    assert isinstance(speaker.reader, CachedReader)
    return speaker.reader.cache.size_bytes


def test_memory_is_linear_in_rows() -> None:
    assert size_after(2, 100) * 2 == size_after(4, 100) == size_after(8, 100) // 2


@pytest.mark.parametrize("num_tokens", [2, 64, 65, 200, CONTEXT - 1, CONTEXT])
def test_memory_is_what_the_longest_history_takes(num_tokens: int) -> None:
    assert size_after(3, num_tokens) == 3 * max(64, num_tokens, 96 * (num_tokens == 65)) * (
        TOKEN_BYTES
    )


def test_memory_of_long_talks_ends_at_the_window() -> None:
    sampling = Sampling(max_reply_tokens=16, min_reply_tokens=16, top_k=3)
    speaker = Speaker(make_model(), END, 4, sampling)
    assert isinstance(speaker.reader, CachedReader)
    cache, sizes = speaker.reader.cache, []
    rng = np.random.default_rng(0)
    history = np.array([1, END])
    for _ in range(60):
        reply = speaker.reply(range(4), [history] * 4, rng.random((4, 16)))[0]
        history = np.concatenate([history, reply.tokens, [END]])
        history = history[max(0, len(history) - CONTEXT + 16) :]
        sizes.append(cache.size_bytes)
        held = int(cache.lengths.max())
        assert held * 4 * TOKEN_BYTES <= sizes[-1] <= max(64, 1.5 * held) * 4 * TOKEN_BYTES
    assert sizes == sorted(sizes) and sizes[-1] <= 4 * CONTEXT * TOKEN_BYTES
    assert len(set(sizes)) < 10
    speaker.forget()
    assert cache.size_bytes == 0


def test_growing_keeps_what_is_held() -> None:
    cache = RowCache(2, 300)
    keys = torch.randn(2, 4, 3, 8)
    cache.aim_at_tokens(np.arange(2), np.array([3, 2]), keys.device)
    cache.update(keys, -keys, 0)
    cache.reserve(200)
    assert cache.capacity == 200 and cache.lengths.tolist() == [3, 2]
    new = torch.randn(2, 4, 1, 8)
    cache.aim_at_step(torch.arange(2), torch.tensor([3, 2]))
    held_keys, held_values = cache.update(new, -new, 0)
    assert torch.equal(held_keys[0], torch.cat([keys[0], new[0]], dim=1))
    assert torch.equal(held_keys[1, :, :3], torch.cat([keys[1, :, :2], new[1]], dim=1))
    assert torch.equal(held_values[1, :, :3], -held_keys[1, :, :3])
    cache.reserve(10_000)
    assert cache.capacity == 300


def test_swapped_slots_exchange_everything() -> None:
    cache = RowCache(4, 16)
    keys = torch.randn(4, 1, 5, 2)
    cache.aim_at_tokens(np.arange(4), np.array([5, 1, 3, 2]), keys.device)
    cache.update(keys, keys, 0)
    cache.swap(np.array([0, 1]), np.array([2, 3]))
    assert cache.lengths.tolist() == [3, 2, 5, 1]
    for slot, origin in enumerate([2, 3, 0, 1]):
        length = int(cache.lengths[slot])
        assert torch.equal(cache.stores[0][slot, 0, :, :length], keys[origin, :, :length])
    cache.swap(np.array([], np.int64), np.array([], np.int64))
