"""Supervised fine-tuning on the chosen responses: what DPO starts from, and its reference.

The loss is the mean negative log-likelihood of the response tokens, end-of-text included; prompts
are read and not learned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from parley.platform.config.dpo import SupervisedConfig
from parley.platform.errors import InputError
from parley.platform.learners.dpo_batches import pack_pairs, plan_steps
from parley.platform.learners.dpo_data import TokenPairs
from parley.platform.learners.dpo_forward import ResponseForward
from parley.platform.models.loss_fault import LossFault, NonFiniteLossError, batch_columns
from parley.platform.models.precision import mixed_precision
from parley.platform.models.schedule import learning_rate_factor

MAX_GRAD_NORM = 1.0

Progress = Callable[[int, int, float], None]
"""Gradient steps so far, those of the whole training, the last loss in nats per token."""


@dataclass(frozen=True)
class FineTuning:
    """What supervised fine-tuning did."""

    responses: int
    """Different (prompt, chosen response) that were learned."""
    steps: int
    """Gradient steps."""
    first_loss: float
    """Nats per response token in the first step; 0 without steps."""
    last_loss: float
    """And in the last one."""


def fine_tune(
    model: PreTrainedModel,
    pairs: TokenPairs,
    config: SupervisedConfig,
    seed: int,
    progress: Progress | None = None,
) -> FineTuning:
    """Train `model` in place on the chosen responses, each counted once for its prompt.

    Raises:
        InputError: the warm-up is longer than the training.
        NonFiniteLossError: the loss or the gradient is not a number.
    """
    chosen = unique_chosen(pairs)
    per_epoch = -(-len(chosen) // config.batch_size)
    num_steps = per_epoch * config.num_epochs
    if num_steps and config.warmup_steps >= num_steps:
        raise InputError(
            f"supervised.warmup_steps = {config.warmup_steps}, but {len(chosen)} chosen responses "
            f"make {num_steps} gradient steps; set supervised.warmup_steps to at most "
            f"{num_steps // 2}, or raise supervised.num_epochs"
        )
    forward = ResponseForward(model)
    device = next(model.parameters()).device
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0, fused=True)
    losses: list[float] = []
    for epoch in range(config.num_epochs):
        for batch in plan_steps(chosen, config.batch_size, seed, epoch):
            step = len(losses)
            factor = learning_rate_factor(step, config.warmup_steps, num_steps)
            optimiser.param_groups[0]["lr"] = config.learning_rate * factor
            torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
            model.train()
            packed = pack_pairs(chosen, batch, forward.shares_prompts).to(device)
            with mixed_precision(device):
                loss = -forward.score(packed).log_probs.mean()
            optimiser.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
            if not (torch.isfinite(norm) and torch.isfinite(loss)):
                raise NonFiniteLossError(
                    f"the loss is {loss.item()} and the gradient's length {norm.item()} at step "
                    f"{step + 1} of supervised fine-tuning; lower supervised.learning_rate",
                    LossFault(
                        {
                            "step": step + 1,
                            "loss": loss.item(),
                            "gradient_norm": norm.item(),
                            "learning_rate": config.learning_rate * factor,
                        },
                        batch_columns(vars(packed)),
                    ),
                )
            optimiser.step()
            losses.append(loss.item())
            if progress is not None:
                progress(len(losses), num_steps, losses[-1])
    model.eval()
    ends = (losses[0], losses[-1]) if losses else (0.0, 0.0)
    return FineTuning(len(chosen), len(losses), *ends)


def unique_chosen(pairs: TokenPairs) -> TokenPairs:
    """One pair for each different (prompt, chosen), with the chosen response on both sides."""
    first: dict[tuple[int, bytes], int] = {}
    for pair in range(len(pairs)):
        first.setdefault((int(pairs.prompt_groups[pair]), pairs.chosen[pair].tobytes()), pair)
    taken = pairs.take(list(first.values()))
    return replace(taken, rejected=taken.chosen, reference=None)
