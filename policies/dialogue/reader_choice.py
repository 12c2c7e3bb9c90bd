"""Which way of reading a model allows, found out by trying.

A model's forward signature promises little: masks may be ignored, positions derived from a cache
that this one is not, logits scaled behind the output head. So a few tokens are read by each way
before the model is trusted with a dialogue.
"""

from __future__ import annotations

import inspect

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from parley.policies.dialogue.reading import (
    CachedReader,
    Reader,
    RereadingReader,
    find_base_model,
)

_TOLERANCE = 1e-3
"""Of hidden states, relative to their size, in float32; a wrong mask or position is far beyond."""


def choose_reader(model: PreTrainedModel, num_rows: int, context: int) -> Reader:
    """The fastest reader that gives what the model itself gives.

    Raises:
        ValueError: the model has no plain output head, or its logits are not what the head makes
            of the last hidden states.
    """
    _check_head(model)
    if _may_be_cached(model) and _reads_alike(model):
        return CachedReader(model, num_rows, context)
    return RereadingReader(model)


@torch.inference_mode()
def _check_head(model: PreTrainedModel) -> None:
    tokens = _probe(model, 4)[None]
    head = model.get_output_embeddings()
    hidden = find_base_model(model)(input_ids=tokens, use_cache=False).last_hidden_state
    logits = model(input_ids=tokens, use_cache=False).logits
    if not _are_close(head(hidden), logits):
        raise ValueError(
            f"the logits of {type(model).__name__} are not what its output head makes of its last "
            "hidden states (they are scaled or capped afterwards), which a speaker relies on; "
            "choose another model"
        )


def _may_be_cached(model: PreTrainedModel) -> bool:
    """Whether nothing speaks against keys and values of full attention as all the memory."""
    base = find_base_model(model)
    arguments = inspect.signature(base.forward).parameters
    config = model.config
    layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        {"position_ids", "past_key_values", "attention_mask"} <= set(arguments)
        and layer_types == {"full_attention"}
        and getattr(config, "sliding_window", None) is None
        and not getattr(model, "_is_stateful", False)
    )


@torch.inference_mode()
def _reads_alike(model: PreTrainedModel) -> bool:
    """Whether two histories of different lengths, read in two turns and a step, come out right."""
    base = find_base_model(model)
    first, second = _probe(model, 7), _probe(model, 5).flip(0)
    expected = [
        base(input_ids=tokens[None], use_cache=False).last_hidden_state[0]
        for tokens in (first, second)
    ]
    reader = CachedReader(model, 2, 8)
    histories = [tokens.cpu().numpy() for tokens in (first, second)]
    try:
        reader.read([0, 1], [histories[0][:4], histories[1][:1]], [0, 0])
        last, scored = reader.read([1, 0], [histories[1][:4], histories[0][:6]], [2, 1])
        order = torch.from_numpy(reader.start([1, 0]))
        following = torch.stack([second[4], first[6]])[order.to(model.device)]
        stepped = reader.step(following)[order.argsort().to(model.device)]
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return False
    return (
        _are_close(last, torch.stack([expected[1][3], expected[0][5]]))
        and _are_close(scored, torch.cat([expected[1][1:3], expected[0][4:5]]))
        and _are_close(stepped, torch.stack([expected[1][4], expected[0][6]]))
    )


def _probe(model: PreTrainedModel, length: int) -> Tensor:
    vocab_size = int(model.get_output_embeddings().weight.shape[0])
    tokens = np.random.default_rng(0).integers(vocab_size, size=length)
    return torch.from_numpy(tokens).to(model.device)


def _are_close(found: Tensor, expected: Tensor) -> bool:
    """Non-finite weights are not this module's to judge: they say nothing about the reading."""
    if not expected.isfinite().all():
        return True
    tolerance = _TOLERANCE if expected.dtype == torch.float32 else 0.1
    scale = float(expected.float().abs().max()) or 1.0
    return float((found.float() - expected.float()).abs().max()) <= tolerance * scale
