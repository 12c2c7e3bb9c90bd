"""The RLModule around a dialogue policy: what RLlib's learners and parley's runners hold.

The module owns no mathematics. It is built from the architecture alone; weights come with the
first message, in the driver as in every runner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.parts import build_from_parts
from parley.policies.rows import POSITIONS, TOKENS, VALID


class DialogueModule(TorchRLModule, InferenceOnlyAPI):
    """Dialogues [R, T] to logits [N, V] and values [N] of their chosen states.

    `model_config` holds `architecture`, the transformers configuration of the language model.
    """

    def setup(self) -> None:
        """Build the policy; torch's global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            settings = cast("dict[str, Any]", self.model_config)
            self.policy = DialogueActorCritic(build_from_parts(settings["architecture"]))
        super().train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay as it is, without dropout: an importance ratio compares a function with itself."""
        return self

    def get_non_inference_attributes(self) -> list[str]:
        """Nothing is dropped for inference: runners need the values too."""
        return []

    def _forward(self, batch: Mapping[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        logits, values = self.policy(batch[TOKENS], batch[POSITIONS], batch[VALID])
        return {Columns.ACTION_DIST_INPUTS: logits, Columns.VF_PREDS: values}
