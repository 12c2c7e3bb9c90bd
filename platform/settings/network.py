"""The settings of the small transformers that speak token languages."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from parley.platform.settings.rules import check_heads
from parley.platform.settings.sections import (
    Count,
    NonNegative,
    Positive,
    Rate,
    ReadIf,
    Section,
    When,
)
from parley.policies.token.table import WITH_FILTER

FILTER_SETTINGS = (
    "model.num_states",
    "model.counter_heads",
    "model.filter_heads",
    "model.filter_layers",
    "model.mutation_rate",
    "model.mutation_noise",
    "model.snap_transitions",
    "ppo.filter_lr_scale",
    "training.filter_lr_scale",
    "training.mutation_noise",
    "training.mutation_loss",
    "training.mutation_ramp_steps",
)
"""What is about the HMM filter, which one policy has."""
READ_WITH_FILTER = (
    ReadIf(FILTER_SETTINGS, (When("policy", WITH_FILTER),)),
    ReadIf(
        ("model.num_states", "model.mutation_rate"),
        (When("model.counter_heads"), When("model.filter_heads")),
    ),
    ReadIf(
        ("model.mutation_noise", "training.mutation_noise", "model.snap_transitions"),
        (When("model.counter_heads"),),
    ),
)


class ModelConfig(Section):
    """The transformer and its differentiable HMM filter."""

    embed_size: Positive = 64
    """Width of the residual stream; a multiple of `heads`."""
    layers: Positive = 1
    """Transformer blocks."""
    heads: Positive = 4
    """Attention heads of a block."""
    ff_hidden: Positive = 256
    """Hidden width of the feed-forward part."""
    num_states: Annotated[int, Field(ge=2)] = 8
    """Latent states of one filter head."""
    max_len: Positive = 64
    """Longest input, in tokens."""
    counter_heads: Count = 1
    """Program-counter heads: transition driven by the input, no emission."""
    filter_heads: Count = 1
    """Classical HMM heads: fixed transition, emission from the input."""
    mutation_rate: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    """Share of the uniform distribution in every transition."""
    initializer_range: Rate = 0.02
    """Standard deviation of the initial weights outside the filter."""
    mutation_noise: NonNegative = 0.0
    """Scale of the Gumbel noise on the transition logits, in training only."""

    _check_heads = model_validator(mode="after")(check_heads)
