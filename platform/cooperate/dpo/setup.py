"""What follows from DPO's settings and the machine: the number format, and the adapters."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from parley.platform.cooperate.settings import DPOSection, LoraConfig
from parley.platform.errors import InputError


def choose_precision(dpo: DPOSection, device: torch.device) -> str:
    """The number format of the forward passes on a device: `fp32`, `bf16` or `fp16`.

    Raises:
        InputError: a format that the device has not.
    """
    if dpo.precision == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    if dpo.precision == "fp16" and device.type != "cuda":
        raise InputError("dpo.precision = fp16 needs a GPU; write fp32, bf16 or auto")
    return dpo.precision


def make_adapters(model: PreTrainedModel, lora: LoraConfig) -> Any:
    """peft's settings of adapters in all linear layers of a model's blocks; None without a rank."""
    if not lora.rank:
        return None
    import peft  # only where it is asked for: it takes a second to load

    return peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # any number will do
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
    )
