"""Log-probabilities of targets and what TRL reports besides, from hidden states.

The output layer is most of a small model's work, and fresh memory is most of what is slow about it
on a CPU: there the logits are written into one buffer, which becomes the probabilities and then the
gradient, and which the next batch uses again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_ELEMENTS = 2**19
"""Logits that pass through the elementwise operations at a time: they fit a core's cache."""
BLOCK_ROWS = 512
"""Rows of logits that exist at a time where no gradient will be asked for."""


class TargetScores(NamedTuple):
    """What a model makes of T targets."""

    log_probs: Tensor
    """float32 [T]: of each target; the only one with a gradient."""
    entropies: Tensor
    """float32 [T]: of the distributions that they are drawn from, in nats."""
    mean_logits: Tensor
    """float32 [T]: mean over the vocabulary."""
    is_top: Tensor
    """bool [T]: whether no token is likelier than the target."""


class LogitsBuffer:
    """Memory for logits, lent to one forward pass until its backward pass is over."""

    def __init__(self) -> None:
        self._free: Tensor | None = None

    def lend(self, rows: int, columns: int) -> Tensor:
        """Float32 [rows, columns] with anything in it."""
        buffer, self._free = self._free, None
        if buffer is None or buffer.numel() < rows * columns:
            buffer = torch.empty(rows * columns)
        return buffer[: rows * columns].view(rows, columns)

    def take_back(self, lent: Tensor) -> None:
        """It may be lent again."""
        whole = lent._base
        self._free = lent.flatten() if whole is None else whole


def score_logits(logits: Tensor, targets: Tensor) -> TargetScores:
    """Scores of `targets` int64 [T] given logits [T, V]."""
    log_probs = torch.log_softmax(logits.float(), -1)
    taken = log_probs.gather(-1, targets[:, None]).squeeze(-1)
    with torch.no_grad():
        entropies = -(log_probs.exp() * log_probs).sum(-1)
        means = logits.float().mean(-1)
        return TargetScores(taken, entropies, means, taken >= log_probs.amax(-1))


def score_hidden(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, buffer: LogitsBuffer
) -> TargetScores:
    """Scores of `targets` int64 [T] given hidden states [T, D] and an output layer [V, D], [V]."""
    dtypes = {hidden.dtype, weight.dtype}
    if hidden.device.type != "cpu" or dtypes != {torch.float32} or torch.is_autocast_enabled("cpu"):
        return score_logits(F.linear(hidden, weight, bias), targets)
    with torch.no_grad():
        means = hidden @ weight.mean(0) + (0.0 if bias is None else bias.mean())
    scores = _ScoreInPlace.apply(hidden, weight, bias, targets, buffer)
    return TargetScores(scores[0], scores[1], means, scores[2])


class _ScoreInPlace(torch.autograd.Function):
    """`score_logits` of a linear map; the gradient of log p_t by the logits is onehot(t) - p."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        buffer: LogitsBuffer,
    ) -> tuple[Tensor, Tensor, Tensor]:
        num_rows = len(targets)
        learning = any(ctx.needs_input_grad)
        block = num_rows if learning else min(num_rows, BLOCK_ROWS)
        probs = buffer.lend(block, len(weight))  # [T, V]
        log_probs, entropies = hidden.new_empty(2, num_rows)
        is_top = torch.empty(num_rows, dtype=torch.bool)
        for first in range(0, num_rows, block):
            rows = slice(first, min(first + block, num_rows))
            logits = probs[: rows.stop - first]
            if bias is None:
                torch.mm(hidden[rows], weight.T, out=logits)
            else:
                torch.addmm(bias, hidden[rows], weight.T, out=logits)
            _to_probs(logits, targets[rows], log_probs[rows], entropies[rows], is_top[rows])
        if learning:
            ctx.save_for_backward(hidden, weight, targets)
            ctx.probs, ctx.buffer, ctx.has_bias = probs, buffer, bias is not None
        else:
            buffer.take_back(probs)
        ctx.mark_non_differentiable(entropies, is_top)
        return log_probs, entropies, is_top

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor, *_: Any
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        hidden, weight, targets = ctx.saved_tensors
        logit_grad = ctx.probs.mul_(-grad[:, None])  # [T, V]
        logit_grad[torch.arange(len(targets)), targets] += grad
        wanted = ctx.needs_input_grad
        grads = (
            logit_grad @ weight if wanted[0] else None,
            logit_grad.T @ hidden if wanted[1] else None,
            logit_grad.sum(0) if ctx.has_bias and wanted[2] else None,
        )
        ctx.buffer.take_back(ctx.probs)
        ctx.probs = None  # a second backward pass would find the gradient there
        return *grads, None, None


def _to_probs(
    logits: Tensor, targets: Tensor, log_probs: Tensor, entropies: Tensor, is_top: Tensor
) -> None:
    """Turn logits [T, V] into probabilities in place; fill in the three figures [T]."""
    size = max(1, CHUNK_ELEMENTS // logits.shape[1])
    for first in range(0, len(logits), size):
        part = slice(first, first + size)
        all_log_probs = torch.log_softmax(logits[part], 1)
        taken = all_log_probs.gather(1, targets[part, None]).squeeze(1)
        log_probs[part] = taken
        is_top[part] = taken >= all_log_probs.amax(1)
        probs = torch.exp(all_log_probs, out=logits[part])
        entropies[part] = all_log_probs.mul_(probs).sum(1).neg_()
