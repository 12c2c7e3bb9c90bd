"""RLlib's learner for dialogue policies: the loss over a seat's own tokens.

A batch is rows of whole dialogues (`dialogue_batch`); `row_learner` owns the updates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor
from torch.optim import AdamW, Optimizer
from transformers.optimization import Adafactor

from parley.platform.control.learner import ADAM_EPSILON
from parley.platform.distort.batch import SUPPORT
from parley.platform.distort.reinforce_loss import compute_reinforce_loss
from parley.platform.distort.settings import DialoguePPOConfig, ReinforceConfig
from parley.platform.engine.rllib.ppo_loss import PPOTerms
from parley.platform.engine.rllib.sequence_batch import ACTIONS, ADVANTAGES, LOG_PROBS
from parley.platform.engine.rllib.sequence_learner import SequenceLearner, compute_row_terms
from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.module import DialogueModule
from parley.policies.dialogue.sampling import truncated_log_probs
from parley.policies.rows import VALID


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


class DialogueLearner(SequenceLearner):
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

    def learning_rate(self, iteration: int) -> float:
        """The rate of an iteration, counted from 0."""
        gradient = self.config.learner_config_dict["ppo"]
        if not isinstance(gradient, DialoguePPOConfig):
            return float(gradient.learning_rate)
        progress = min(1.0, iteration / gradient.anneal_iterations)
        first, last = gradient.learning_rate, gradient.learning_rate_final
        return first + (last - first) * progress

    def compute_terms(self, logits: Tensor, values: Tensor, batch: dict[str, Any]) -> PPOTerms:
        """The algorithm's loss over the N tokens that the seat drew."""
        settings, valid = self.config.learner_config_dict, batch[VALID]
        gradient = settings["ppo"]
        support = batch[SUPPORT][valid] if SUPPORT in batch else None
        log_probs = truncated_log_probs(logits, support, settings["temperature"])
        if settings["algorithm"] == "ppo":
            return compute_row_terms(
                log_probs,
                values,
                batch,
                clip=gradient.clip,
                value_clip=gradient.value_clip,
                value_coefficient=gradient.value_coefficient,
                entropy_coefficient=gradient.entropy_coefficient,
            )
        return compute_reinforce_loss(
            log_probs,
            batch[ACTIONS][valid],
            batch[LOG_PROBS][valid],
            batch[ADVANTAGES][valid],
            entropy_coefficient=gradient.entropy_coefficient,
        )
