"""A trainer's weights and moments as plain arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parley.platform.errors import InputError
from parley.platform.records import State


def save_state(model: nn.Module, optimiser: torch.optim.Optimizer, scaler: Any | None) -> State:
    """Trained weights, moments and the loss scale, for `checkpoints.state_tree`."""
    return {
        "weights": {name: _to_array(p) for name, p in _trained(model).items()},
        "moments": {
            index: {name: _to_array(tensor) for name, tensor in entry.items()}
            for index, entry in optimiser.state_dict()["state"].items()
        },
        "scaler": None if scaler is None else scaler.state_dict(),
    }


@torch.no_grad()
def load_state(
    state: Mapping[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: Any | None,
) -> None:
    """Take over a `save_state` of a model of the same kind; learning rates stay as they are.

    Raises:
        InputError: the model has other trained weights.
    """
    parameters = _trained(model)
    weights = state["weights"]
    if {name: p.shape for name, p in parameters.items()} != {
        name: torch.Size(array.shape) for name, array in weights.items()
    }:
        raise InputError(
            "the checkpoint is of another model, or of other adapters; resume with the settings "
            "that it was written with"
        )
    for name, parameter in parameters.items():
        parameter.copy_(torch.from_numpy(np.array(weights[name])))
    whole = optimiser.state_dict()
    whole["state"] = {
        index: {name: torch.from_numpy(np.array(array)) for name, array in entry.items()}
        for index, entry in state["moments"].items()
    }
    optimiser.load_state_dict(whole)
    if scaler is not None and state["scaler"] is not None:
        scaler.load_state_dict(state["scaler"])


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _to_array(tensor: Tensor) -> NDArray[Any]:
    """A copy; numpy has no bfloat16, float32 holds its values."""
    plain = tensor.detach().cpu()
    plain = plain.float() if plain.dtype == torch.bfloat16 else plain
    return plain.numpy().copy()
