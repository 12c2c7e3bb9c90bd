"""Reading the beliefs of a model: what its filters hand on, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from parley.policies.dhmm_gpt2 import (
    BeliefFilter,
    DHMMGPT2Cache,
    DHMMGPT2Config,
    DHMMGPT2ForCausalLM,
)
from parley.policies.dhmm_gpt2.beliefs import read_beliefs


def make_model(**sizes: Any) -> DHMMGPT2ForCausalLM:
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": 9,
        "embed_size": 16,
        "layers": 2,
        "heads": 2,
        "ff_hidden": 16,
    }
    return DHMMGPT2ForCausalLM(DHMMGPT2Config(**{**shape, "num_states": 5, **sizes})).eval()


def test_beliefs_are_those_that_decoding_carries() -> None:
    model = make_model(filter_layers=(0, 1), counter_heads=2, filter_heads=1)
    tokens = torch.randint(0, 9, (3, 12))
    beliefs = read_beliefs(model, tokens)
    assert beliefs.keys() == {0, 1}
    assert beliefs[1].shape == (3, 12, 3, 5)
    torch.testing.assert_close(beliefs[0].sum(-1), torch.ones(3, 12, 3))
    for length in (1, 7, 12):
        cache = DHMMGPT2Cache(config=model.config)
        with torch.no_grad():
            model(tokens[:, :length], past_key_values=cache, use_cache=True)
        for layer in (0, 1):
            torch.testing.assert_close(beliefs[layer][:, length - 1], cache.beliefs[layer])


def test_a_model_without_filters_has_none() -> None:
    assert read_beliefs(make_model(counter_heads=0, filter_heads=0), torch.zeros(1, 3).long()) == {}


def test_reading_leaves_no_hook_even_where_it_fails() -> None:
    model = make_model(max_len=4)
    with pytest.raises(ValueError, match="max_len"):
        read_beliefs(model, torch.zeros(1, 9).long())
    filters = [module for module in model.modules() if isinstance(module, BeliefFilter)]
    assert filters and all(not module._forward_pre_hooks for module in filters)
