"""The belief filter: a differentiable hidden Markov model in the residual stream.

Owns the model of the hidden states (transition, emission, initial state, mutation) and builds one
S x S operator per time step from it; `scan.py` multiplies them.

    predict   b̄_t = b_{t-1} A_t       A_t = (1-ε) softmax((Λ + W_A u_t + σ Gumbel) / τ) + ε/S
    update    b_t = b̄_t ∘ e_t / Z_t   e_t = exp(clip(W_e u_t))
    write     h_t ← h_t + W_o b_t     u_t = LayerNorm(h_t)

Two kinds of head stand side by side. A program counter's transition is driven by the input and it
has no emission (e = 1): it tracks states exactly. A classical filter has a fixed transition
(W_A = 0) and emissions from the input: it averages noise out.
"""  # noqa: RUF002

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from parley.policies.dhmm_gpt2.configuration import DHMMGPT2Config
from parley.policies.dhmm_gpt2.scan import scan_beliefs
from parley.policies.dhmm_gpt2.softmax import short_softmax


class BeliefFilter(nn.Module):
    """Reads the residual stream, moves a belief per head, writes the beliefs back.

    Attributes:
        mutation_noise: sigma, the scale of the Gumbel noise; used in training mode only.
    """

    def __init__(self, config: DHMMGPT2Config) -> None:
        super().__init__()
        states, width = config.num_states, config.embed_size
        counters, filters = config.counter_heads, config.filter_heads
        self.num_states = states
        self.counter_heads = counters
        self.filter_heads = filters
        self.mutation_rate = config.mutation_rate
        self.mutation_noise = config.mutation_noise
        self.temperature = config.temperature
        self.snap_transitions = config.snap_transitions
        self.emission_clip = config.emission_clip
        self.scan_chunk = config.scan_chunk
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        self.initial_logits = nn.Parameter(torch.empty(counters + filters, states))
        if counters:
            self.counter_base = nn.Parameter(torch.empty(counters, states, states))  # Λ
            self.counter_drive = nn.Parameter(torch.empty(counters * states * states, width))  # W_A
        if filters:
            self.filter_base = nn.Parameter(torch.empty(filters, states, states))  # Λ
            self.emission = nn.Parameter(torch.empty(filters * states, width))  # W_e
        self.write = nn.Parameter(torch.empty(width, (counters + filters) * states))  # W_o
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the initial weights: sticky states, a strong prior on the first one, loud writes."""
        init.normal_(self.initial_logits, std=3.0)
        init.normal_(self.write, std=0.3)
        read_std = 0.5 / math.sqrt(self.norm.normalized_shape[0])
        if self.counter_heads:
            init.copy_(self.counter_base, _sticky_logits(self.counter_base))
            init.normal_(self.counter_drive, std=read_std)
        if self.filter_heads:
            init.copy_(self.filter_base, _sticky_logits(self.filter_base))
            init.normal_(self.emission, std=read_std)

    def initial_belief(self, batch_size: int) -> Tensor:
        """The learned distribution over the state before the first token, [B, heads, S]."""
        prior = torch.softmax(_at_least_float32(self.initial_logits), dim=-1)
        return prior.expand(batch_size, -1, -1)

    def forward(
        self,
        hidden: Tensor,
        belief: Tensor | None = None,
        valid: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Filter a piece of a sequence.

        Args:
            hidden: residual stream [B, T, D].
            belief: [B, heads, S] after the tokens before this piece; None at the start.
            valid: bool [B, T]; a False step leaves the belief as it is.
            generator: source of the mutation noise; torch's global one by default.

        Returns:
            The residual stream with the beliefs written into it [B, T, D], and the belief after
            the last step [B, heads, S].
        """
        beliefs = self.track(hidden, belief, valid, generator)
        written = F.linear(beliefs.transpose(1, 2).flatten(2).to(hidden.dtype), self.write)
        return hidden + written, beliefs[:, :, -1]

    def step(self, hidden: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, for one token after `belief` and without the operators of classical heads.

        Args:
            hidden: residual stream [B, D].
            belief: [B, heads, S].

        Returns:
            The residual stream [B, D] and the belief [B, heads, S].
        """
        signal = self.norm(hidden).unsqueeze(1)
        joint = []
        if self.counter_heads:
            counters = belief[:, : self.counter_heads].unsqueeze(-2)
            transitions = self._transitions(signal, None).squeeze(2)
            joint.append(torch.matmul(counters, transitions).squeeze(-2))
        if self.filter_heads:
            filters = belief[:, self.counter_heads :].transpose(0, 1)
            predicted = torch.matmul(filters, self._fixed_transitions()).transpose(0, 1)
            joint.append(predicted * self._emissions(signal).squeeze(2))
        joined = joint[0] if len(joint) == 1 else torch.cat(joint, dim=1)
        belief = joined / joined.sum(-1, keepdim=True)
        return hidden + F.linear(belief.flatten(1).to(hidden.dtype), self.write), belief

    def track(
        self,
        hidden: Tensor,
        belief: Tensor | None = None,
        valid: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The beliefs after every step, [B, heads, T, S]; arguments as in `forward`."""
        if belief is None:
            belief = self.initial_belief(hidden.shape[0])
        signal = self.norm(hidden)
        operators = []
        if self.counter_heads:
            operators.append(self._transitions(signal, generator))
        if self.filter_heads:
            operators.append(self._emitting_operators(signal))
        joined = operators[0] if len(operators) == 1 else torch.cat(operators, dim=1)
        if valid is not None:
            identity = torch.eye(self.num_states, dtype=joined.dtype, device=joined.device)
            joined = torch.where(valid[:, None, :, None, None], joined, identity)
        beliefs = scan_beliefs(belief.flatten(0, 1), joined.flatten(0, 1), self.scan_chunk)
        return beliefs.view(joined.shape[:-1])

    def _transitions(self, signal: Tensor, generator: torch.Generator | None) -> Tensor:
        """The counters' transitions [B, H, T, S, S], driven by the signal [B, T, D]."""
        logits = F.linear(signal, self.counter_drive, self.counter_base.flatten())
        shape = (self.counter_heads, self.num_states, self.num_states)
        logits = _at_least_float32(logits).unflatten(-1, shape).transpose(1, 2)
        if self.training and self.mutation_noise > 0.0:
            # Gumbel noise is minus the logarithm of an exponential variable.
            variable = torch.empty_like(logits).exponential_(generator=generator)
            tiny = torch.finfo(variable.dtype).tiny
            logits = torch.sub(logits, variable.clamp_(min=tiny).log_(), alpha=self.mutation_noise)
        if self.snap_transitions and not self.training:
            return F.one_hot(logits.argmax(-1), self.num_states).to(logits.dtype)
        return self._mix(logits)

    def _emitting_operators(self, signal: Tensor) -> Tensor:
        """The filters' operators A diag(e_t) [B, H, T, S, S]."""
        return self._fixed_transitions().unsqueeze(1) * self._emissions(signal).unsqueeze(-2)

    def _fixed_transitions(self) -> Tensor:
        """The filters' transitions A [H, S, S]."""
        return self._mix(_at_least_float32(self.filter_base))

    def _emissions(self, signal: Tensor) -> Tensor:
        """The filters' emissions e_t [B, H, T, S] of the signal [B, T, D]."""
        logits = _at_least_float32(F.linear(signal, self.emission))
        logits = logits.unflatten(-1, (self.filter_heads, self.num_states)).transpose(1, 2)
        return logits.clamp(-self.emission_clip, self.emission_clip).exp()

    def _mix(self, logits: Tensor) -> Tensor:
        """Row-stochastic matrices from logits, with the uniform jump mixed in."""
        if self.temperature != 1.0:
            logits = logits / self.temperature
        transition = short_softmax(logits)
        if self.mutation_rate == 0.0:
            return transition
        return transition * (1.0 - self.mutation_rate) + self.mutation_rate / self.num_states


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    filter_lr_scale: float = 5.0,
    among: Sequence[nn.Parameter] | None = None,
) -> list[dict[str, Any]]:
    """Optimiser groups: belief filters faster and without decay, biases and norms without decay.

    Args:
        model: any module that contains a DHMM-GPT2 (heads of a policy included).
        lr: learning rate outside the filters.
        weight_decay: of weight matrices and embeddings outside the filters.
        filter_lr_scale: learning rate of the filters' parameters relative to `lr`.
        among: leave all other parameters out; None: take all.

    Returns:
        Dictionaries for a torch optimiser: `params`, `lr`, `weight_decay` and a `name` each; every
        trainable parameter is in exactly one, and empty groups are left out.
    """
    in_filter = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, BeliefFilter)
        for parameter in module.parameters()
    }
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    filters: list[nn.Parameter] = []
    for parameter in model.parameters() if among is None else among:
        if not parameter.requires_grad:
            continue
        if id(parameter) in in_filter:
            filters.append(parameter)
        else:
            (decayed if parameter.dim() >= 2 else undecayed).append(parameter)
    groups = [
        {"name": "decayed", "params": decayed, "lr": lr, "weight_decay": weight_decay},
        {"name": "undecayed", "params": undecayed, "lr": lr, "weight_decay": 0.0},
        {"name": "filters", "params": filters, "lr": lr * filter_lr_scale, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _sticky_logits(like: Tensor) -> Tensor:
    """Transition logits near 3 times the identity, [H, S, S]."""
    identity = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
    return 3.0 * identity + 0.1 * torch.randn_like(like)


def _at_least_float32(tensor: Tensor) -> Tensor:
    """Beliefs are kept in float32 or better, whatever the width of the weights."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
