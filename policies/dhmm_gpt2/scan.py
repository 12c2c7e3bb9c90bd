"""The belief recursion b_t = b_{t-1} M_t / Z_t for all time steps at once.

Owns the arithmetic only: operators in, beliefs out. What the operators mean (transition, emission,
padding) is the business of `filter.py`.

A belief is free of scale, so a product of operators may be rescaled at will. The scan cuts the
sequence into chunks, multiplies the operators of each chunk (all chunks in parallel), runs the same
scan over the chunk products, and then steps through all chunks in parallel from their now known
starting beliefs. The sequential depth is about 2 * chunk per level, the work linear in time.

The gradient is written by hand, because a tape over the steps costs more than the steps. With
g_t = dL/db_t, the adjoint of the unnormalised belief, scaled by the belief's own norm, is

    v_t = g_t - <g_t, b_t> + v_{t+1} (M_{t+1} / Z_{t+1})^T,        dL/dM_t = b_{t-1}^T v_t / Z_t

which is the backward pass of the forward-backward algorithm (Rabiner 1989, section III.A): an
affine recursion in the same chunks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Measured forward and backward on one CPU thread: up to so many steps, or from so many rows on
# (where arithmetic outweighs the overhead of a step), stepping through beats chunking.
LOOP_MAX_STEPS = 48
LOOP_MIN_ROWS_ON_CPU = 32


def filter_step(belief: Tensor, operator: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the filter.

    Args:
        belief: [..., S], any scale.
        operator: [..., S, S], non-negative: the transition times the emission of the target state.

    Returns:
        The next belief [..., S], which sums to one, and the evidence Z [..., 1]: for a normalised
        belief and true emission probabilities, p(observation | past).
    """
    joint = torch.matmul(belief.unsqueeze(-2), operator).squeeze(-2)
    evidence = joint.sum(-1, keepdim=True)
    return joint / evidence, evidence


def scan_beliefs(initial: Tensor, operators: Tensor, chunk: int = 16) -> Tensor:
    """Beliefs after every step, equal to repeated `filter_step`, differentiable once.

    Args:
        initial: [N, S] belief before the first step, any scale.
        operators: [N, T, S, S], non-negative, T >= 1.
        chunk: time steps per chunk; matters for speed only.

    Returns:
        Beliefs [N, T, S], each of which sums to one.

    Raises:
        ValueError: the shapes do not fit together, or `chunk` < 2.
    """
    if chunk < 2:
        raise ValueError(f"chunk must be >= 2, got {chunk}")
    num_states = initial.shape[-1]
    if operators.dim() != 4 or operators.shape[1] < 1:
        raise ValueError(f"operators must be [N, T >= 1, S, S], got {tuple(operators.shape)}")
    if initial.shape != (operators.shape[0], num_states) or operators.shape[2:] != (
        num_states,
        num_states,
    ):
        raise ValueError(
            f"initial [N, S] and operators [N, T, S, S] do not fit: "
            f"{tuple(initial.shape)} and {tuple(operators.shape)}"
        )
    with torch.autocast(operators.device.type, enabled=False):  # products stay in full width
        if torch.is_grad_enabled() and (initial.requires_grad or operators.requires_grad):
            beliefs: Tensor = _BeliefScan.apply(initial, operators, chunk)
            return beliefs
        return _scan_forward(initial, operators, chunk)[0]


class _Level(NamedTuple):
    """One coarseness of the scan: the operators of all steps and the evidence of each."""

    operators: Tensor  # [N, T, S, S]
    evidence: Tensor  # [N, T, 1]


class _BeliefScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, initial: Tensor, operators: Tensor, chunk: int) -> Tensor:
        beliefs, levels = _scan_forward(initial, operators, chunk)
        ctx.chunk = chunk
        ctx.save_for_backward(initial, beliefs, *(tensor for level in levels for tensor in level))
        return beliefs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        initial, beliefs, *flat = ctx.saved_tensors
        levels = [_Level(*flat[i : i + 2]) for i in range(0, len(flat), 2)]
        evidence = levels[0].evidence
        # Operators of every level, scaled so that they map each normalised belief to the next.
        scaled = [operators / evidence.unsqueeze(-1) for operators, evidence in levels]
        source = grad - (grad * beliefs).sum(-1, keepdim=True)  # [N, T, S]
        pulled = torch.matmul(scaled[0], source.unsqueeze(-1)).squeeze(-1)
        carry = _scan_backward(pulled, scaled, ctx.chunk)  # [N, T, S], adjoint of b_{t-1}
        adjoint = source
        adjoint[:, :-1] += carry[:, 1:]
        adjoint /= evidence
        previous = torch.cat([initial.unsqueeze(1), beliefs[:, :-1]], dim=1)
        # The scaled operators have served; their memory takes the gradient.
        gradient = torch.mul(previous.unsqueeze(-1), adjoint.unsqueeze(-2), out=scaled[0])
        return carry[:, 0], gradient, None


def _scan_forward(initial: Tensor, operators: Tensor, chunk: int) -> tuple[Tensor, list[_Level]]:
    """Beliefs [N, T, S] and the operators and evidence of every level, finest first."""
    batch, steps, states = operators.shape[:3]
    many_rows = batch >= LOOP_MIN_ROWS_ON_CPU and operators.device.type == "cpu"
    if steps <= LOOP_MAX_STEPS or steps < 2 * chunk or many_rows:
        beliefs, evidence = _step_through(initial, operators)
        return beliefs, [_Level(operators, evidence)]
    chunks = steps // chunk
    body = chunks * chunk
    pieces = operators[:, :body].reshape(batch * chunks, chunk, states, states)
    products = _multiply(pieces).view(batch, chunks, states, states)
    ends, coarser = _scan_forward(initial, products, chunk)
    starts = torch.cat([initial.unsqueeze(1), ends[:, :-1]], dim=1)
    beliefs, evidence = _step_through(starts.reshape(batch * chunks, states), pieces)
    beliefs, evidence = beliefs.view(batch, body, states), evidence.view(batch, body, 1)
    if body < steps:
        tail_beliefs, tail_evidence = _step_through(beliefs[:, -1], operators[:, body:])
        beliefs = torch.cat([beliefs, tail_beliefs], dim=1)
        evidence = torch.cat([evidence, tail_evidence], dim=1)
    return beliefs, [_Level(operators, evidence), *coarser]


def _step_through(initial: Tensor, operators: Tensor) -> tuple[Tensor, Tensor]:
    """Beliefs [N, T, S] and evidence [N, T, 1], one step after the other."""
    belief = initial.unsqueeze(1)  # [N, 1, S]
    beliefs, evidences = [], []
    for operator in operators.unbind(1):
        joint = torch.bmm(belief, operator)
        evidence = joint.sum(-1, keepdim=True)
        belief = joint / evidence
        beliefs.append(belief)
        evidences.append(evidence)
    return torch.cat(beliefs, dim=1), torch.cat(evidences, dim=1)


def _multiply(operators: Tensor) -> Tensor:
    """The product over time [N, S, S] of operators [N, T, S, S], up to a positive factor."""
    first, *rest = operators.unbind(1)
    product = first
    for operator in rest:
        product = torch.bmm(product, operator)
        product = product / product.amax((-2, -1), keepdim=True)
    return product


def _scan_backward(pulled: Tensor, levels: list[Tensor], chunk: int) -> Tensor:
    """Solve c_t = pulled_t + c_{t+1} M_t^T backwards from c_{T+1} = 0.

    Args:
        pulled: [N, T, S].
        levels: the operators M [N, T, S, S] of this and all coarser levels, finest first.
        chunk: as in the forward scan.

    Returns:
        c [N, T, S].
    """
    operators, *coarser = levels
    batch, steps, states = pulled.shape
    if not coarser:
        return _step_back(pulled, operators, torch.zeros_like(pulled[:, 0]))
    chunks = steps // chunk
    body = chunks * chunk
    incoming = torch.zeros_like(pulled[:, 0])
    tail = None
    if body < steps:
        tail = _step_back(pulled[:, body:], operators[:, body:], incoming)
        incoming = tail[:, 0]
    pieces = operators[:, :body].reshape(batch * chunks, chunk, states, states)
    sources = pulled[:, :body].reshape(batch * chunks, chunk, states)
    local = _step_back(sources, pieces, torch.zeros_like(sources[:, 0]))[:, 0]
    local = local.view(batch, chunks, states)
    # What enters from the tail passes the last chunk like a source of its own.
    last = coarser[0][:, -1]
    local[:, -1] += torch.bmm(last, incoming.unsqueeze(-1)).squeeze(-1)
    starts = _scan_backward(local, coarser, chunk)
    entering = torch.cat([starts[:, 1:], incoming.unsqueeze(1)], dim=1)
    carry = _step_back(sources, pieces, entering.reshape(batch * chunks, states))
    carry = carry.view(batch, body, states)
    return carry if tail is None else torch.cat([carry, tail], dim=1)


def _step_back(pulled: Tensor, operators: Tensor, incoming: Tensor) -> Tensor:
    """The recursion of `_scan_backward`, one step after the other."""
    carry = incoming.unsqueeze(-1)  # [N, S, 1]
    carries = []
    sources = pulled.unsqueeze(-1).unbind(1)
    for source, operator in zip(reversed(sources), reversed(operators.unbind(1)), strict=True):
        carry = torch.baddbmm(source, operator, carry)
        carries.append(carry)
    carries.reverse()
    return torch.stack(carries, dim=1).squeeze(-1)
