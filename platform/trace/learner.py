"""RLlib's learner for written traces: PPO on the tokens that the policy wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Adam

from parley.platform.control.learner import ADAM_EPSILON
from parley.platform.engine.rllib.advantages import whiten
from parley.platform.engine.rllib.ppo_loss import PPOTerms
from parley.platform.engine.rllib.sequence_batch import (
    ACTIONS,
    ADVANTAGES,
    LOG_PROBS,
    VALUE_TARGETS,
    VALUES,
    pad_rows,
)
from parley.platform.engine.rllib.sequence_learner import SequenceLearner, compute_row_terms
from parley.platform.trace.writing import PlayedTraces
from parley.policies.rows import POSITIONS, TOKENS, VALID
from parley.policies.token.actor_critic import optimiser_groups
from parley.policies.token.row_module import TraceModule

VALUE_LR_SCALE = 10.0
"""Learning rate of the value head, which starts from nothing where the rest was trained before; it
reads the hidden states without moving them, so that haste does no harm."""


def make_rows(
    played: Sequence[PlayedTraces], order: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """The columns [R, ...] of one iteration's batch, its rows in random order.

    Advantages are whitened over all tokens that count.

    Returns:
        `TOKENS` int64 [R, T], padded behind; for the written tokens `POSITIONS` int64 [R, A] (of
        the token before), `VALID` bool, `ACTIONS` int64, `LOG_PROBS`, `VALUES`, `ADVANTAGES` and
        `VALUE_TARGETS` float32 [R, A].
    """
    rows = [row for part in played for row in _rows_of(part)]
    whitened = whiten(np.concatenate([row[ADVANTAGES] for row in rows]))
    cuts = np.cumsum([len(row[ADVANTAGES]) for row in rows])[:-1]
    for row, advantages in zip(rows, np.split(whitened, cuts), strict=True):
        row[ADVANTAGES] = advantages
    rows = [rows[index] for index in order.permutation(len(rows))]
    return {key: pad_rows([row[key] for row in rows]) for key in rows[0]}


def _rows_of(part: PlayedTraces) -> list[dict[str, NDArray[Any]]]:
    given = part.prompt_length
    targets = part.advantages + part.values
    return [
        {
            TOKENS: part.tokens[index, : given + count],
            POSITIONS: np.arange(given - 1, given - 1 + count),
            VALID: np.ones(count, np.bool_),
            ACTIONS: part.tokens[index, given : given + count],
            LOG_PROBS: part.log_probs[index, :count],
            VALUES: part.values[index, :count],
            ADVANTAGES: part.advantages[index, :count],
            VALUE_TARGETS: targets[index, :count],
        }
        for index, count in enumerate(part.counts.tolist())
    ]


class TraceLearner(SequenceLearner):
    """Updates one policy; `learner_config_dict` holds `ppo` (`TracePPOConfig`), `seed`,
    `num_threads`."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam; the filter's parameters and the value head have rates of their own."""
        ppo = self.config.learner_config_dict["ppo"]
        policy = cast("TraceModule", self.module[module_id].unwrapped()).policy
        groups = [
            *optimiser_groups(policy.language_model, ppo.learning_rate, 0.0, ppo.filter_lr_scale),
            {"params": list(policy.value_head.parameters()), "lr_scale": VALUE_LR_SCALE},
        ]
        self.register_optimizer(
            module_id=module_id,
            optimizer=Adam(groups, lr=ppo.learning_rate, eps=ADAM_EPSILON, fused=True),
            params=[parameter for group in groups for parameter in group["params"]],
            lr_or_lr_schedule=ppo.learning_rate,
        )

    def learning_rate(self, iteration: int) -> float:
        """Linear to zero over the iterations of the run."""
        ppo = self.config.learner_config_dict["ppo"]
        return float(ppo.learning_rate * max(0.0, 1.0 - iteration / ppo.num_iterations))

    def compute_terms(self, logits: Tensor, values: Tensor, batch: dict[str, Any]) -> PPOTerms:
        """PPO's loss over the N tokens that were written; no clip of the value's change."""
        ppo = self.config.learner_config_dict["ppo"]
        return compute_row_terms(
            logits.float(),
            values,
            batch,
            clip=ppo.clip,
            value_clip=None,
            value_coefficient=ppo.value_coefficient,
            entropy_coefficient=ppo.entropy_coefficient,
        )
