"""Softmax over short rows.

`torch.softmax` on CPU spends about 145 ns on a row of 8 numbers, most of it on the way in and out
of the row, which made it the dearest part of the belief filter. Elementwise passes over the whole
tensor do the same in a fifth of the time, forward and backward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def short_softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension, equal to `torch.softmax`, differentiable once."""
    if torch.is_grad_enabled() and logits.requires_grad:
        probabilities: Tensor = _ShortSoftmax.apply(logits)
        return probabilities
    return _normalise(logits)


class _ShortSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        probabilities = _normalise(logits)
        ctx.save_for_backward(probabilities)
        return probabilities

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (probabilities,) = ctx.saved_tensors
        weighted = grad * probabilities
        return weighted.sub_(probabilities * weighted.sum(-1, keepdim=True))


def _normalise(logits: Tensor) -> Tensor:
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(-1, keepdim=True))
