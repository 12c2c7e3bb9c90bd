"""Weights from a file of safetensors into a module, with clear words for a wrong or damaged one."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module, never leaving a weight at random as `from_pretrained` does.

    Raises:
        ValueError: the file is missing, damaged, or of another model.
    """
    try:
        module.load_state_dict(_read_tensors(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: weights of another model ({error})") from error


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: the weights are missing") from error
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: cannot read the weights ({error}); the file is truncated or damaged"
        ) from error
