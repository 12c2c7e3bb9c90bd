"""RLlib's learner for dialogue policies: whose tokens count, and how they were drawn.

A batch is rows of whole dialogues (`distort.batch`); what is learned from them is the gradient's.
"""

from __future__ import annotations

from torch import Tensor

from parley.platform.distort.batch import SUPPORT
from parley.platform.distort.settings import DialoguePPOConfig
from parley.platform.engine.rllib.gradient_learner import GradientLearner
from parley.platform.records import Batch, ParameterGroup
from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.sampling import truncated_log_probs
from parley.policies.rows import VALID


class DialogueLearner(GradientLearner):
    """Updates dialogue policies; a critic's rate stands in a `DialoguePPOConfig`."""

    def parameter_groups(self, policy: DialogueActorCritic) -> list[ParameterGroup]:
        """Only matrices of the language model decay; the value head has a rate of its own."""
        parameters = list(policy.language_model.parameters())
        head = policy.value_head
        if not self.gradient.needs_critic:
            head.requires_grad_(False)
            return [{"params": parameters, "lr_scale": 1.0}]
        ppo: DialoguePPOConfig = self.gradient.settings
        matrices = [parameter for parameter in parameters if parameter.dim() > 1]
        others = [parameter for parameter in parameters if parameter.dim() <= 1]
        scale = ppo.value_learning_rate / ppo.learning_rate
        return [
            {"params": matrices, "weight_decay": ppo.weight_decay, "lr_scale": 1.0},
            {"params": others, "weight_decay": 0.0, "lr_scale": 1.0},
            {"params": list(head.parameters()), "weight_decay": 0.0, "lr_scale": scale},
        ]

    def read_outputs(self, logits: Tensor, values: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Under the sampler's temperature, among the tokens that could be drawn."""
        support = batch[SUPPORT][batch[VALID]] if SUPPORT in batch else None
        return truncated_log_probs(logits, support, self.settings.temperature), values
