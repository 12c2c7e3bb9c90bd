"""Which way of reading a model allows, found out by trying.

A model's forward signature promises little: masks may be ignored, later tokens seen, positions
derived from a cache that this one is not. So a few tokens are read by each way before the model is
trusted with a dialogue.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from transformers import PreTrainedModel

from parley.policies.dialogue.output_head import find_base_model, find_head_facts
from parley.policies.dialogue.probing import (
    FORWARD_ERRORS,
    PROBE_LENGTH,
    are_same,
    context_of,
    length_beyond_sight,
    once_per_model,
    probe_tokens,
)
from parley.policies.dialogue.reading import CachedReader, Reader, RereadingReader

_TOLERANCE = 1e-4
"""Of hidden states, relative to their size, in float32; a wrong mask or position is far beyond."""


def choose_reader(model: PreTrainedModel, num_rows: int, context: int) -> Reader:
    """The fastest reader that gives what the model itself gives.

    Raises:
        ValueError: see `check_speaker`.
    """
    check_speaker(model)
    if _may_be_cached(model):
        return CachedReader(model, num_rows, context)
    return RereadingReader(model)


def check_speaker(model: PreTrainedModel) -> None:
    """See that a model can speak.

    Raises:
        ValueError: it has no output head on a base model, cannot read tokens alone, sees later
            tokens, or is changed by reading.
    """
    find_head_facts(model)
    _check_reading(model)


@once_per_model
def _check_reading(model: PreTrainedModel) -> bool:
    """Read two sequences with one beginning, which has to come out the same."""
    base = find_base_model(model)
    length = min(PROBE_LENGTH, context_of(model))
    half = length // 2
    first, other = probe_tokens(model, length), probe_tokens(model, length, seed=1)
    second = torch.cat([first[:half], other[half:]])
    states = [
        base(input_ids=tokens[None], use_cache=False).last_hidden_state[0, :half]
        for tokens in (first, second)
    ]
    if not are_same(*states):
        raise ValueError(
            f"{type(model).__name__} is not causal: what it makes of a token depends on later ones,"
            " as an encoder's does; set is_decoder = true in its config.json if it was trained to "
            "predict the next token, or choose another model"
        )
    return True


@once_per_model
def _may_be_cached(model: PreTrainedModel) -> bool:
    """Whether keys and values of full attention are all the memory that the model needs."""
    arguments = inspect.signature(find_base_model(model).forward).parameters
    if not {"position_ids", "past_key_values", "attention_mask"} <= set(arguments):
        return False
    if getattr(model, "_is_stateful", False):
        return False
    context = context_of(model)
    length = length_beyond_sight(model, context)
    return length is not None and _reads_alike(model, min(length, context))


def _reads_alike(model: PreTrainedModel, length: int) -> bool:
    """Whether two histories, read in two turns and a step, come out right."""
    base = find_base_model(model)
    first, second = probe_tokens(model, length), probe_tokens(model, length - 2, seed=1)
    expected = [
        base(input_ids=tokens[None], use_cache=False).last_hidden_state[0]
        for tokens in (first, second)
    ]
    reader = CachedReader(model, 2, length)
    histories = [tokens.cpu().numpy() for tokens in (first, second)]
    try:
        reader.read([0, 1], [histories[0][:4], histories[1][:1]], [0, 0])
        last, scored = reader.read([1, 0], [histories[1][:-1], histories[0][:-1]], [2, 1])
        order = torch.from_numpy(reader.start([1, 0]))
        following = torch.stack([second[-1], first[-1]])[order.to(model.device)]
        stepped = reader.step(following)[order.argsort().to(model.device)]
    except FORWARD_ERRORS:
        return False
    return (
        _are_close(last, torch.stack([expected[1][-2], expected[0][-2]]))
        and _are_close(scored, torch.cat([expected[1][-4:-2], expected[0][-3:-2]]))
        and _are_close(stepped, torch.stack([expected[1][-1], expected[0][-1]]))
    )


def _are_close(found: Tensor, expected: Tensor) -> bool:
    return are_same(found, expected, _TOLERANCE)
