"""Muon for the matrices inside the blocks, AdamW for everything else, as one optimiser.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) gives every direction of a
matrix the same step: the update is the nearest orthogonal matrix to the momentum. On small models
with few gradient steps it learns in half of AdamW's time (see docs/decisions). Embeddings, biases
and norms are not such matrices; AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from parley.platform.config.pretraining import LanguageTrainingConfig

ADAM_BETAS = (0.9, 0.95)
MUON_MOMENTUM = 0.95


class LanguageOptimiser:
    """Both optimisers with one schedule.

    Args:
        model: a GPT-2.
        training: learning rates and weight decay.
    """

    def __init__(self, model: nn.Module, training: LanguageTrainingConfig) -> None:
        inner, outer = split_parameters(model)
        decayed = [p for p in outer if p.ndim > 1]
        others = [p for p in outer if p.ndim <= 1]
        self._muon = torch.optim.Muon(
            inner,
            lr=training.matrix_learning_rate,
            momentum=MUON_MOMENTUM,
            weight_decay=training.weight_decay,
        )
        self._adam = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": training.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=training.learning_rate,
            betas=ADAM_BETAS,
            fused=True,
        )
        self._peaks = (training.matrix_learning_rate, training.learning_rate)

    def step(self, factor: float) -> None:
        """Apply the gradients at `factor` times the peak learning rates."""
        for optimiser, peak in zip((self._muon, self._adam), self._peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * factor
            optimiser.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._muon.zero_grad()
        self._adam.zero_grad()

    def state(self) -> dict[str, Any]:
        """The moments: plain values and arrays, see `checkpoints.state_tree`."""
        return {"muon": _moments(self._muon), "adam": _moments(self._adam)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a `state`."""
        for name, optimiser in (("muon", self._muon), ("adam", self._adam)):
            whole = optimiser.state_dict()
            whole["state"] = {
                index: {key: torch.from_numpy(np.array(array)) for key, array in entry.items()}
                for index, entry in state[name].items()
            }
            optimiser.load_state_dict(whole)


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices inside the blocks, and all other parameters: embeddings, biases, norms."""
    inner: list[nn.Parameter] = []
    outer: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        in_block = parameter.ndim == 2 and ".h." in name
        (inner if in_block else outer).append(parameter)
    return inner, outer


def _moments(optimiser: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    entries = optimiser.state_dict()["state"]
    return {
        index: {name: tensor.detach().cpu().numpy().copy() for name, tensor in entry.items()}
        for index, entry in entries.items()
    }
