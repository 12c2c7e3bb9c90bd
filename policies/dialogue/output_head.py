"""From a model's last hidden states to its logits, as the model itself goes there.

Most models end in a linear map. Others scale its outcome (Granite, Cohere), cap it (Gemma 2) or
transform the hidden states before it (BERT). Their own code behind the base model is run then, with
hidden states that are known in place of the base model.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from parley.policies.dialogue.pretrained import first_line, some
from parley.policies.dialogue.probing import FORWARD_ERRORS, are_same, once_per_model, probe_tokens

LARGE_LOGITS = 100.0
"""Logits of this size show a cap that small ones do not."""
_ROUNDING = 1e-6


class HeadFacts(NamedTuple):
    """What lies behind a model's base."""

    is_linear: bool
    """The logits are a linear map of the last hidden states."""
    width: int
    """Of the hidden states."""
    output_type: type[ModelOutput]
    """What the base model returns."""


def find_base_model(model: PreTrainedModel) -> nn.Module:
    """The model without its output head.

    Raises:
        ValueError: the model does not say which part of it that is.
    """
    base = getattr(model, model.base_model_prefix, None)
    if not isinstance(base, nn.Module) or model.get_output_embeddings() is None:
        raise ValueError(
            f"{type(model).__name__} is no causal language model with an output head on a base "
            "model (as made by AutoModelForCausalLM), which a speaker needs; choose another model"
        )
    return base


def make_head(model: PreTrainedModel) -> nn.Module:
    """Hidden states [..., D] to logits [..., V], exactly as the model computes them.

    It holds the model's own parameters, and is no part of it.

    Raises:
        ValueError: see `find_head_facts`.
    """
    facts = find_head_facts(model)
    if facts.is_linear:
        return cast(nn.Module, model.get_output_embeddings())
    return _ReplayedHead(model, facts.output_type)


@once_per_model
def find_head_facts(model: PreTrainedModel) -> HeadFacts:
    """Which way leads from hidden states to logits.

    Raises:
        ValueError: none does but reading everything, the model cannot read tokens alone, or
            reading changes its weights.
    """
    base, tokens = find_base_model(model), probe_tokens(model, 4)[None]
    before = {name: p._version for name, p in model.named_parameters()}
    try:
        output = base(input_ids=tokens, use_cache=False)
        logits = model(input_ids=tokens, use_cache=False).logits
        hidden = output.last_hidden_state
    except FORWARD_ERRORS as error:
        raise ValueError(
            f"{type(model).__name__} cannot read a sequence of tokens alone ({first_line(error)}), "
            "which is all that a speaker has; choose another model"
        ) from error
    changed = [name for name, p in model.named_parameters() if p._version != before[name]]
    if changed:
        raise ValueError(
            f"{type(model).__name__} changes its weights when it only reads ({some(changed)}), so "
            "that they would be saved and sent as something else; switch that off (RWKV: "
            "rescale_every = 0 in its config.json), or choose another model"
        )
    replayed = _ReplayedHead(model, type(output))
    try:
        is_replayed = are_same(replayed(hidden), logits)
    except FORWARD_ERRORS:
        is_replayed = False
    if not is_replayed:
        raise ValueError(
            f"the logits of {type(model).__name__} cannot be had from its last hidden states alone,"
            " which a speaker relies on; choose another model"
        )
    # A cap shows in large logits only.
    large = hidden * (LARGE_LOGITS / (float(logits.abs().max()) or 1.0))
    linear = cast(nn.Module, model.get_output_embeddings())
    try:
        is_linear = all(are_same(linear(h), replayed(h), _ROUNDING) for h in (hidden, large))
    except FORWARD_ERRORS:
        is_linear = False
    return HeadFacts(is_linear, int(hidden.shape[-1]), type(output))


class _ReplayedHead(nn.Module):
    """A model whose base is replaced by hidden states that are given to it."""

    def __init__(self, model: PreTrainedModel, output_type: type[ModelOutput]) -> None:
        super().__init__()
        self._base = _KnownStates(find_base_model(model), output_type)
        shell = copy.copy(model)
        vars(shell)["_modules"] = {**model._modules, model.base_model_prefix: self._base}
        vars(shell).pop("forward", None)
        self._shell = shell

    def forward(self, hidden: Tensor) -> Tensor:
        flat = hidden.reshape(1, -1, hidden.shape[-1])
        tokens = torch.zeros(flat.shape[:2], dtype=torch.int64, device=hidden.device)
        self._base.hidden = flat
        try:
            logits: Tensor = self._shell(input_ids=tokens, use_cache=False).logits
        finally:
            self._base.hidden = None
        return logits.reshape(*hidden.shape[:-1], -1)


class _KnownStates(nn.Module):
    """Answers as a base model whose last hidden states are `hidden`, with that one's attributes."""

    hidden: Tensor | None

    def __init__(self, base: nn.Module, output_type: type[ModelOutput]) -> None:
        super().__init__()
        self._bases = (base,)  # no part of this module
        self._output_type = output_type
        self.hidden = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bases[0], name)

    @property
    def decoder(self) -> _KnownStates:
        """What is left of an encoder and decoder calls the latter by this name."""
        return self

    def forward(self, *args: Any, **kwargs: Any) -> ModelOutput:
        return self._output_type(last_hidden_state=self.hidden)
