"""The RLModule that writes traces: whole rows in, logits and values of the written tokens out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from ray.rllib.core.columns import Columns
from torch import Tensor

from parley.policies.rows import POSITIONS, TOKENS, VALID, score_rows
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.window_module import TokenModule


class TraceModule(TokenModule):
    """Rows of tokens [R, T] to logits [N, V] and values [N] of their N chosen states.

    `model_config` is `TokenModule`'s; the policy is a `LanguageActorCritic`, of which every token
    is an action.
    """

    policy: LanguageActorCritic

    def setup(self) -> None:
        """Build the policy, without dropout and mutation noise from the start."""
        super().setup()
        super().train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay as it is, without noise: an importance ratio compares a function with itself."""
        return self

    def _forward(self, batch: Mapping[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        policy = self.policy
        logits, values = score_rows(
            policy.language_model,
            policy.language_model.lm_head,
            policy.value_head,
            batch[TOKENS],
            batch[POSITIONS],
            batch[VALID],
        )
        return {Columns.ACTION_DIST_INPUTS: logits, Columns.VF_PREDS: values}
