"""RLlib's learner for dialogue policies: the loss over a seat's own tokens.

It shares the seeded updates, the clipped gradients and the report of the loss terms with
`TokenPPOLearner`, and differs in what a batch is: rows of whole dialogues (`dialogue_batch`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor
from torch.optim import AdamW, Optimizer
from transformers.optimization import Adafactor

from parley.platform.config.distort import DialoguePPOConfig, ReinforceConfig
from parley.platform.learners.dialogue_batch import (
    ACTIONS,
    ADVANTAGES,
    LOG_PROBS,
    SUPPORT,
    VALUE_TARGETS,
    VALUES,
)
from parley.platform.learners.ppo_learner import ADAM_EPSILON, TokenPPOLearner
from parley.platform.learners.ppo_loss import PPOTerms, compute_ppo_loss
from parley.platform.learners.reinforce_loss import compute_reinforce_loss
from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.module import VALID, DialogueModule
from parley.policies.dialogue.sampling import truncated_log_probs

OUTPUTS = (Columns.ACTION_DIST_INPUTS, Columns.VF_PREDS)
ITERATION = "iteration"
"""Key of `timesteps`: how many iterations came before."""


def make_adamw(policy: DialogueActorCritic, config: DialoguePPOConfig) -> Optimizer:
    """AdamW; only matrices of the language model decay, the value head has a rate of its own."""
    parameters = list(policy.language_model.parameters())
    groups = [
        {
            "params": [p for p in parameters if p.dim() > 1],
            "weight_decay": config.weight_decay,
            "lr_scale": 1.0,
        },
        {
            "params": [p for p in parameters if p.dim() <= 1],
            "weight_decay": 0.0,
            "lr_scale": 1.0,
        },
        {
            "params": list(policy.value_head.parameters()),
            "weight_decay": 0.0,
            "lr_scale": config.value_learning_rate / config.learning_rate,
        },
    ]
    return AdamW(groups, lr=config.learning_rate, eps=ADAM_EPSILON, fused=True)


def make_adafactor(policy: DialogueActorCritic, config: ReinforceConfig) -> Optimizer:
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235) at a fixed rate; no values to learn."""
    policy.value_head.requires_grad_(False)
    return Adafactor(
        [{"params": list(policy.language_model.parameters()), "lr_scale": 1.0}],
        lr=config.learning_rate,
        relative_step=False,
        scale_parameter=False,
        warmup_init=False,
    )


OPTIMISERS: dict[str, Callable[[DialogueActorCritic, Any], Optimizer]] = {
    "ppo": make_adamw,
    "reinforce": make_adafactor,
}
"""Algorithm -> the optimiser of a policy."""


class DialogueLearner(TokenPPOLearner):
    """Updates dialogue policies by `learner_config_dict["algorithm"]`.

    `learner_config_dict` also holds `ppo` (the algorithm's settings), `temperature` (of the
    sampler), `seed` and `num_threads`.
    """

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One optimiser for a whole policy."""
        settings = self.config.learner_config_dict
        policy = cast("DialogueModule", self.module[module_id].unwrapped()).policy
        optimiser = OPTIMISERS[settings["algorithm"]](policy, settings["ppo"])
        self.register_optimizer(
            module_id=module_id,
            optimizer=optimiser,
            params=[p for group in optimiser.param_groups for p in group["params"]],
            lr_or_lr_schedule=settings["ppo"].learning_rate,
        )

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Seed this update by its number, so that a resumed run shuffles as this one; anneal."""
        PPOTorchLearner.before_gradient_based_update(self, timesteps=timesteps)
        number = int(timesteps[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        stream = np.random.SeedSequence([self.config.learner_config_dict["seed"], number])
        np.random.seed(stream.generate_state(4))
        for optimiser in self._named_optimizers.values():
            self._set_optimizer_lr(optimiser, self._learning_rate(int(timesteps[ITERATION])))
        self._terms = {}

    def _learning_rate(self, iteration: int) -> float:
        """The rate of an iteration, counted from 0."""
        gradient = self.config.learner_config_dict["ppo"]
        if not isinstance(gradient, DialoguePPOConfig):
            return float(gradient.learning_rate)
        progress = min(1.0, iteration / gradient.anneal_iterations)
        first, last = gradient.learning_rate, gradient.learning_rate_final
        return first + (last - first) * progress

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """The algorithm's loss over the N tokens that the seat drew."""
        settings = self.config.learner_config_dict
        valid = batch[VALID]
        if not valid.any():  # rows that only make up the number of a learner's share
            return sum(0.0 * fwd_out[key].sum() for key in OUTPUTS)
        support = batch[SUPPORT][valid] if SUPPORT in batch else None
        log_probs = truncated_log_probs(
            fwd_out[Columns.ACTION_DIST_INPUTS], support, settings["temperature"]
        )
        drawn = {key: batch[key][valid] for key in (ACTIONS, LOG_PROBS, ADVANTAGES)}
        terms = (
            self._ppo_terms(log_probs, fwd_out[Columns.VF_PREDS], drawn, batch, settings["ppo"])
            if settings["algorithm"] == "ppo"
            else compute_reinforce_loss(
                log_probs,
                drawn[ACTIONS],
                drawn[LOG_PROBS],
                drawn[ADVANTAGES],
                entropy_coefficient=settings["ppo"].entropy_coefficient,
            )
        )
        self._terms.setdefault(module_id, []).append(terms)
        return terms.total

    @staticmethod
    def _ppo_terms(
        log_probs: Tensor,
        values: Tensor,
        drawn: dict[str, Tensor],
        batch: dict[str, Any],
        ppo: DialoguePPOConfig,
    ) -> PPOTerms:
        valid = batch[VALID]
        return compute_ppo_loss(
            log_probs,
            values.float(),
            drawn[ACTIONS],
            drawn[LOG_PROBS],
            batch[VALUES][valid],
            drawn[ADVANTAGES],
            batch[VALUE_TARGETS][valid],
            clip=ppo.clip,
            value_clip=ppo.value_clip,
            value_coefficient=ppo.value_coefficient,
            entropy_coefficient=ppo.entropy_coefficient,
        )
