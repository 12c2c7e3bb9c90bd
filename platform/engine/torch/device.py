"""Where a process computes that Ray has given no place."""

from __future__ import annotations

import torch


def choose_device(num_gpus: float) -> torch.device:
    """The GPU where one is asked for and there, else the CPU."""
    return torch.device("cuda" if num_gpus > 0 and torch.cuda.is_available() else "cpu")
