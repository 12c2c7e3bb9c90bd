"""Muon for the matrices inside the blocks, AdamW for everything else, as one optimiser.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) gives every direction of a
matrix the same step: the update is the nearest orthogonal matrix to the momentum. On small models
with few gradient steps it learns in half of AdamW's time (see docs/decisions). Embeddings, biases,
norms and belief filters are not such matrices; AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)
takes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from parley.platform.records import ParameterGroup, State

MUON_MOMENTUM = 0.95


class JointOptimiser:
    """AdamW over parameter groups and Muon over matrices, with one schedule.

    Args:
        groups: of AdamW, each with its peak `lr`.
        matrices: of Muon; none: AdamW is alone.
        matrix_learning_rate: Muon's peak learning rate.
        matrix_weight_decay: its decoupled weight decay.
        betas: of AdamW.
    """

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        matrices: Sequence[nn.Parameter] = (),
        matrix_learning_rate: float = 0.02,
        matrix_weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self._optimisers: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            self._optimisers["muon"] = torch.optim.Muon(
                list(matrices),
                lr=matrix_learning_rate,
                momentum=MUON_MOMENTUM,
                weight_decay=matrix_weight_decay,
            )
        self._optimisers["adam"] = torch.optim.AdamW(list(groups), betas=betas, fused=True)
        self._peaks = {
            name: [group["lr"] for group in optimiser.param_groups]
            for name, optimiser in self._optimisers.items()
        }

    def step(self, factor: float) -> None:
        """Apply the gradients at `factor` times the peak learning rates."""
        for name, optimiser in self._optimisers.items():
            for group, peak in zip(optimiser.param_groups, self._peaks[name], strict=True):
                group["lr"] = peak * factor
            optimiser.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimiser in self._optimisers.values():
            optimiser.zero_grad()

    def state(self) -> State:
        """The moments: plain values and arrays, see `checkpoints.state_tree`."""
        return {name: _moments(optimiser) for name, optimiser in self._optimisers.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a `state`."""
        for name, optimiser in self._optimisers.items():
            whole = optimiser.state_dict()
            whole["state"] = {
                index: {key: torch.from_numpy(np.array(array)) for key, array in entry.items()}
                for index, entry in state[name].items()
            }
            optimiser.load_state_dict(whole)


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices inside the blocks, and all other parameters.

    Blocks are GPT-2's (`h`) or DHMM-GPT2's (`blocks`), whose belief filters count as others.
    """
    inner: list[nn.Parameter] = []
    outer: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        in_block = ".h." in name or (".blocks." in name and ".filter." not in name)
        (inner if in_block and parameter.ndim == 2 else outer).append(parameter)
    return inner, outer


def _moments(optimiser: torch.optim.Optimizer) -> dict[int, State]:
    entries = optimiser.state_dict()["state"]
    return {
        index: {name: tensor.detach().cpu().numpy().copy() for name, tensor in entry.items()}
        for index, entry in entries.items()
    }
