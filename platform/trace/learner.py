"""From written traces to the rows that RLlib's learner takes, and its parameter groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.engine.rllib.gradient_learner import GradientLearner
from parley.platform.engine.rllib.gradients.policy_gradient import (
    ACTIONS,
    LOG_PROBS,
    VALUES,
    PolicyGradient,
    Stretch,
)
from parley.platform.engine.rllib.sequence_batch import pad_rows
from parley.platform.records import ParameterGroup
from parley.platform.trace.settings import TracePPOConfig
from parley.platform.trace.writing import PlayedTraces
from parley.policies.rows import POSITIONS, TOKENS, VALID
from parley.policies.token.actor_critic import LanguageActorCritic, optimiser_groups

WRITER = "writer"
"""The only role."""
VALUE_LR_SCALE = 10.0
"""Learning rate of the value head, which starts from nothing where the rest was trained before; it
reads the hidden states without moving them, so that haste does no harm."""


def make_rows(
    played: Sequence[PlayedTraces], gradient: PolicyGradient[Any], order: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """The columns [R, ...] of one iteration's batch, its rows in random order.

    Returns:
        `TOKENS` int64 [R, T], padded behind; for the written tokens `POSITIONS` int64 [R, A] (of
        the token before), `VALID` bool, `ACTIONS` int64, `LOG_PROBS`, `VALUES` and the columns of
        credit float32 [R, A].
    """
    rows = [row for part in played for row in _rows_of(part)]
    for column, parts in gradient.credit(stretches_of(played)).items():
        for row, part in zip(rows, parts, strict=True):
            row[column] = part
    rows = [rows[index] for index in order.permutation(len(rows))]
    return {key: pad_rows([row[key] for row in rows]) for key in rows[0]}


def stretches_of(played: Sequence[PlayedTraces]) -> list[Stretch]:
    """Each trace is an episode; those on the same prompt began alike."""
    traces = [
        (part, index, count) for part in played for index, count in enumerate(part.counts.tolist())
    ]
    return [
        Stretch(
            episode=number,
            place=0,
            group=part.tokens[index, : part.prompt_length].tobytes(),
            role=WRITER,
            rewards=part.rewards[index, :count],
            total=float(part.rewards[index, :count].sum()),
            values=part.values[index, :count],
            next_value=0.0,
        )
        for number, (part, index, count) in enumerate(traces)
    ]


def _rows_of(part: PlayedTraces) -> list[dict[str, NDArray[Any]]]:
    given = part.prompt_length
    return [
        {
            TOKENS: part.tokens[index, : given + count],
            POSITIONS: np.arange(given - 1, given - 1 + count),
            VALID: np.ones(count, np.bool_),
            ACTIONS: part.tokens[index, given : given + count],
            LOG_PROBS: part.log_probs[index, :count],
            VALUES: part.values[index, :count],
        }
        for index, count in enumerate(part.counts.tolist())
    ]


class TraceLearner(GradientLearner):
    """Updates one policy; the gradient's settings are a `TracePPOConfig`."""

    def parameter_groups(self, policy: LanguageActorCritic) -> list[ParameterGroup]:
        """The filter's parameters and the value head have rates of their own."""
        ppo: TracePPOConfig = self.gradient.settings
        scale = ppo.filter_lr_scale
        return [
            *optimiser_groups(policy.language_model, ppo.learning_rate, 0.0, scale),
            {"params": list(policy.value_head.parameters()), "lr_scale": VALUE_LR_SCALE},
        ]
