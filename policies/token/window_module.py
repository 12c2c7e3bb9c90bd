"""The RLModule around a token policy: what RLlib's learners and parley's runners call.

The module owns no mathematics. Its policy is built from the model settings alone, so that every
process builds the same one, and is drawn from a seed of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from parley.policies.token.building import build_policy


class TokenModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """Windows of tokens (`Columns.OBS`, int64 [B, L]) to action logits and values.

    `model_config` holds `policy` (a name of `building.POLICIES`), `settings` (its sizes) and
    `seed` (of the initial weights).
    """

    def setup(self) -> None:
        """Build the policy; torch's global generator is left as it was."""
        settings = cast("dict[str, Any]", self.model_config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings["seed"])
            self.policy = build_policy(settings["policy"], settings["settings"])

    def get_non_inference_attributes(self) -> list[str]:
        """Nothing is dropped for inference: runners need the values too."""
        return []

    def train(self, mode: bool = True) -> Self:
        """Switch all parts; RLlib asks for it at every forward pass, mostly in vain."""
        return self if mode == self.training else super().train(mode)

    def _forward(self, batch: Mapping[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        logits, values = self.policy(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: logits, Columns.VF_PREDS: values}

    def compute_values(
        self, batch: Mapping[str, Tensor], embeddings: Tensor | None = None
    ) -> Tensor:
        """The values [B] of the windows in `batch`."""
        values: Tensor = self.policy(batch[Columns.OBS])[1]
        return values
