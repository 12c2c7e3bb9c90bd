"""One gradient of a few tokens, by the way of training: what cannot learn is known at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from parley.platform.cooperate.dpo.batches import pack_pairs
from parley.platform.cooperate.dpo.forward import ResponseForward, probe_pairs
from parley.platform.cooperate.dpo.setup import choose_precision, make_adapters
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.errors import InputError
from parley.policies.dialogue.pretrained import first_line
from parley.policies.dialogue.probing import FORWARD_ERRORS


def rehearse(model: PreTrainedModel, config: DialogueDPOConfig, device: torch.device) -> None:
    """See that a model can learn as an experiment asks; it stays as it was.

    Args:
        model: on `device`.
        config: the experiment.
        device: where it will learn.

    Raises:
        InputError: the device lacks the number format, the model has no place for adapters, or
            nothing of it would learn.
    """
    precision = choose_precision(config.dpo, device)
    width = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    format_of_training: Any = nullcontext() if width is None else torch.autocast(device.type, width)
    packed = pack_pairs(probe_pairs(model), [0], shared=False).to(device)
    with _as_it_was(model), _adapted(model, config) as policy:
        try:
            forward = ResponseForward(policy)
            policy.train()
            with format_of_training:
                loss = -forward.score(packed).log_probs.mean()
            loss.backward()
        except FORWARD_ERRORS as error:
            raise InputError(
                f"model: {type(model).__name__} cannot learn with dpo.precision = "
                f"{config.dpo.precision} on {device.type} ({first_line(error)}); set dpo.precision "
                f"= fp32, or choose another model"
            ) from error
        if not any(p.grad is not None and bool((p.grad != 0).any()) for p in policy.parameters()):
            raise InputError(
                f"model: no weight of {type(model).__name__} gets a gradient"
                f"{' through its adapters; set lora.rank = 0' if config.lora.rank else ''}, so it "
                f"cannot learn; choose another model"
            )


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Take back modes, gradients and which weights learn."""
    learning = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    training = model.training
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for parameter, did_learn in learning:
            parameter.requires_grad_(did_learn)
            parameter.grad = None
        model.train(training)


@contextmanager
def _adapted(model: PreTrainedModel, config: DialogueDPOConfig) -> Iterator[nn.Module]:
    """The model inside the adapters that the experiment asks for, if any, for a while."""
    adapters = make_adapters(model, config.lora)
    if adapters is None:
        yield model
        return
    import peft

    layers = _linear_layers(model)
    try:
        adapted: Any = peft.get_peft_model(model, adapters)
    except Exception as error:
        raise InputError(
            f"lora.rank = {config.lora.rank}: peft cannot put adapters into the linear layers of "
            f"{type(model).__name__}, which are {', '.join(layers) or 'none'} "
            f"({first_line(error)}); set lora.rank = 0 to train all weights, or choose another "
            f"model"
        ) from error
    try:
        yield adapted
    finally:
        adapted.unload()
        vars(model).pop("peft_config", None)


def _linear_layers(model: PreTrainedModel) -> list[str]:
    """The names of the layers that adapters may go into, without their places."""
    head = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, (nn.Linear, Conv1D)) and module is not head
        }
    )
