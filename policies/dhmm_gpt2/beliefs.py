"""What a DHMM-GPT2 believes while it reads: the latent states of every filter at every token."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from parley.policies.dhmm_gpt2.filter import BeliefFilter


@torch.inference_mode()
def read_beliefs(model: nn.Module, tokens: Tensor) -> dict[int, Tensor]:
    """Read whole sequences and keep the beliefs, which a forward pass alone throws away.

    Args:
        model: a `DHMMGPT2Model` or `DHMMGPT2ForCausalLM`, in evaluation mode.
        tokens: int64 [B, T], without padding on the left.

    Returns:
        Index of the block to its beliefs after each token [B, T, heads, S], the program counters
        in front of the classical filters; empty for a model without filters.
    """
    beliefs: dict[int, Tensor] = {}

    def keep(layer: int, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(module, BeliefFilter)
        beliefs[layer] = module.track(inputs[0]).transpose(1, 2)

    transformer: Any = getattr(model, "transformer", model)
    hooks = [
        block.filter.register_forward_pre_hook(partial(keep, layer))
        for layer, block in enumerate(transformer.blocks)
        if block.filter is not None
    ]
    try:
        transformer(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return beliefs
