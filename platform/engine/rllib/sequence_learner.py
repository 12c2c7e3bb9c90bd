"""RLlib's learner on rows of whole sequences: seeded updates, a rate per iteration, PPO's terms.

It shares the clipped gradients and the report of the loss terms with `WindowPPOLearner`, and
differs in what a batch is (`row_batch`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from parley.platform.control.learner import WindowPPOLearner
from parley.platform.engine.rllib.ppo_loss import PPOTerms, compute_ppo_loss
from parley.platform.engine.rllib.sequence_batch import (
    ACTIONS,
    ADVANTAGES,
    LOG_PROBS,
    VALUE_TARGETS,
    VALUES,
)
from parley.policies.rows import VALID

OUTPUTS = (Columns.ACTION_DIST_INPUTS, Columns.VF_PREDS)
ITERATION = "iteration"
"""Key of `timesteps`: how many iterations came before."""


class SequenceLearner(WindowPPOLearner):
    """Updates policies on rows; subclasses give the optimiser, the rate and the loss."""

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Seed this update by its number, so that a resumed run shuffles as this one; anneal."""
        PPOTorchLearner.before_gradient_based_update(self, timesteps=timesteps)
        number = self._num_env_steps = int(timesteps[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        stream = np.random.SeedSequence([self.config.learner_config_dict["seed"], number])
        np.random.seed(stream.generate_state(4))
        for optimiser in self._named_optimizers.values():
            self._set_optimizer_lr(optimiser, self.learning_rate(int(timesteps[ITERATION])))
        self._terms, self._batches = {}, {}

    @abstractmethod
    def learning_rate(self, iteration: int) -> float:
        """The rate of an iteration, counted from 0."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """The loss over the N tokens that were drawn, weighted by the learner's part of them."""
        weight = self.weigh(batch[VALID].sum())
        if weight == 0.0:  # rows that only make up the number of a learner's share
            return sum(0.0 * fwd_out[key].sum() for key in OUTPUTS)
        terms = self.compute_terms(
            fwd_out[Columns.ACTION_DIST_INPUTS], fwd_out[Columns.VF_PREDS], batch
        ).times(weight)
        self.keep_terms(module_id, batch, terms)
        return terms.total

    @abstractmethod
    def compute_terms(self, logits: Tensor, values: Tensor, batch: dict[str, Any]) -> PPOTerms:
        """The loss of logits [N, V] and values [N] on a batch of rows."""


def compute_row_terms(
    log_probs: Tensor,
    values: Tensor,
    batch: dict[str, Any],
    *,
    clip: float,
    value_clip: float | None,
    value_coefficient: float,
    entropy_coefficient: float,
) -> PPOTerms:
    """PPO's loss over the N tokens of a batch of rows; see `compute_ppo_loss`.

    Args:
        log_probs: of all tokens now, or logits, [N, V].
        values: V now, [N].
        batch: columns [R, A]; those of `row_batch` and `VALID`.
        clip, value_clip, value_coefficient, entropy_coefficient: as there.
    """
    valid = batch[VALID]
    return compute_ppo_loss(
        log_probs,
        values.float(),
        batch[ACTIONS][valid],
        batch[LOG_PROBS][valid],
        batch[VALUES][valid],
        batch[ADVANTAGES][valid],
        batch[VALUE_TARGETS][valid],
        clip=clip,
        value_clip=value_clip,
        value_coefficient=value_coefficient,
        entropy_coefficient=entropy_coefficient,
    )
