"""Decoding in pieces with the cache equals the full forward, and `generate` uses it rightly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from parley.policies.dhmm_gpt2 import DHMMGPT2Cache, DHMMGPT2Config, DHMMGPT2ForCausalLM

VOCAB = 17


def make_model(**changes: Any) -> Any:  # transformers types `generate` for its own models only
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "embed_size": 32,
        "layers": 2,
        "num_states": 5,
        "max_len": 128,
        "filter_layers": (0, 1),
        "pad_token_id": 0,
        "initializer_range": 0.3,  # logits apart enough for greedy choices to be clear
    }
    return DHMMGPT2ForCausalLM(DHMMGPT2Config(**(sizes | changes))).eval()


def make_tokens(batch: int = 3, steps: int = 60) -> Tensor:
    return torch.randint(1, VOCAB, (batch, steps), generator=torch.Generator().manual_seed(1))


def decode_in_pieces(
    model: DHMMGPT2ForCausalLM, tokens: Tensor, sizes: list[int], mask: Tensor | None
) -> Tensor:
    logits, cache, start = [], None, 0
    for size in sizes:
        end = start + size
        output = model(
            tokens[:, start:end],
            attention_mask=None if mask is None else mask[:, :end],
            past_key_values=cache,
            use_cache=True,
        )
        logits.append(output.logits)
        cache, start = output.past_key_values, end
    return torch.cat(logits, dim=1)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[1] * 60, [20, 1, 1, 15, 1, 22], [59, 1], [1, 59]])
@pytest.mark.parametrize("padded", [False, True])
def test_pieces_equal_the_full_forward(sizes: list[int], padded: bool) -> None:
    model, tokens = make_model(), make_tokens()
    mask = None
    if padded:
        mask = torch.ones_like(tokens)
        mask[0, :25], mask[2, :3] = 0, 0
    full = model(tokens, attention_mask=mask).logits
    pieces = decode_in_pieces(model, tokens, sizes, mask)
    torch.testing.assert_close(pieces, full, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("options", [{"do_sample": False}, {"num_beams": 3}])
@pytest.mark.parametrize("padded", [False, True])
def test_generate_with_cache_equals_without(options: dict[str, Any], padded: bool) -> None:
    model, prompt = make_model(), make_tokens(3, 9)
    mask = torch.ones_like(prompt)
    if padded:
        mask[1, :4] = 0
    runs = [
        model.generate(prompt, attention_mask=mask, max_new_tokens=25, use_cache=cached, **options)
        for cached in (True, False)
    ]
    assert runs[0].shape == (3, 34)
    assert torch.equal(runs[0], runs[1])


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_greedy_generation_follows_the_full_forward(padded: bool) -> None:
    model, tokens = make_model(), make_tokens(3, 9)
    mask = torch.ones_like(tokens)
    if padded:
        mask[1, :4] = 0
    generated = model.generate(tokens, attention_mask=mask, max_new_tokens=25, do_sample=False)
    for _ in range(25):
        choice = model(tokens, attention_mask=mask).logits[:, -1:].argmax(-1)
        tokens = torch.cat([tokens, choice], dim=1)
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
    assert torch.equal(generated, tokens)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[59], [20, 1, 38]])
def test_last_only_with_a_cache_keeps_the_cache_whole(sizes: list[int]) -> None:
    model, tokens = make_model(), make_tokens()
    cache, start = DHMMGPT2Cache(config=model.config), 0
    for size in sizes:
        piece = tokens[:, start : start + size]
        model(piece, past_key_values=cache, logits_to_keep=1)
        start += size
    stepped = model(tokens[:, 59:], past_key_values=cache).logits
    torch.testing.assert_close(stepped, model(tokens).logits[:, -1:], atol=1e-5, rtol=0)


@torch.no_grad()
def test_generate_continues_from_a_given_cache() -> None:
    model, prompt = make_model(), make_tokens(2, 9)
    expected = model.generate(prompt, max_new_tokens=6, do_sample=False)
    cache = DHMMGPT2Cache(config=model.config)
    model(prompt[:, :5], past_key_values=cache)
    continued = model.generate(prompt, past_key_values=cache, max_new_tokens=6, do_sample=False)
    assert torch.equal(continued, expected)


@torch.no_grad()
def test_cache_rows_move_together() -> None:
    model, tokens = make_model(), make_tokens(3, 12)
    order = torch.tensor([2, 0, 0])
    for move, rows in (
        (lambda cache: cache.reorder_cache(order), order),
        (lambda cache: cache.batch_select_indices(order[:2]), order[:2]),
        (lambda cache: cache.batch_repeat_interleave(2), torch.tensor([0, 0, 1, 1, 2, 2])),
    ):
        cache = model(tokens[:, :11], use_cache=True).past_key_values
        move(cache)
        stepped = model(tokens[rows, 11:], past_key_values=cache).logits
        expected = model(tokens[rows]).logits[:, -1:]
        torch.testing.assert_close(stepped, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_cache_cannot_be_cropped_but_reset() -> None:
    model, tokens = make_model(), make_tokens()
    cache = model(tokens, use_cache=True).past_key_values
    assert sorted(cache.beliefs) == [0, 1]
    assert cache.beliefs[0].shape == (3, 2, 5)
    with pytest.raises(ValueError, match=r"cannot crop 2 tokens: the beliefs of layers \[0, 1\]"):
        cache.crop(-2)
    cache.reset()
    again = model(tokens, past_key_values=cache).logits
    torch.testing.assert_close(again, model(tokens).logits, atol=1e-5, rtol=0)


def test_other_caches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cache_implementation must be 'dynamic'.*got 'static'"):
        make_model().generate(make_tokens(1, 4), cache_implementation="static", max_new_tokens=1)


@torch.no_grad()
def test_sampling_follows_the_seed() -> None:
    model, prompt = make_model(), make_tokens(2, 4)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append(model.generate(prompt, do_sample=True, max_new_tokens=20))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
