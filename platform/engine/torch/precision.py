"""The width of numbers in a forward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 on a GPU, while weights and gradients stay float32.

    float32 on the CPU, where figures must not depend on its kind.
    """
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
