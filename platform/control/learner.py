"""RLlib's learner for token policies on windows: from episodes to batches of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.policy.sample_batch import MultiAgentBatch
from torch import Tensor

from parley.platform.control.fragment import NEXT_VALUES
from parley.platform.control.settings import PPOConfig
from parley.platform.engine.rllib.gradient_learner import GradientLearner
from parley.platform.engine.rllib.gradients.policy_gradient import (
    ACTIONS,
    ADVANTAGES,
    LOG_PROBS,
    VALUE_TARGETS,
    VALUES,
    PolicyGradient,
    Stretch,
)
from parley.platform.engine.rllib.sequence_batch import make_share
from parley.platform.records import Batch, ParameterGroup
from parley.policies.rows import VALID
from parley.policies.token.actor_critic import optimiser_groups

COLUMNS = {
    LOG_PROBS: Columns.ACTION_LOGP,
    VALUES: Columns.VF_PREDS,
    ADVANTAGES: ADVANTAGES,
    VALUE_TARGETS: VALUE_TARGETS,
}
"""Column of a batch -> what RLlib's episodes call it."""


def credit_episodes(
    episodes: Sequence[SingleAgentEpisode], gradient: PolicyGradient[Any], reward_scale: float
) -> None:
    """Add the columns of credit to all episodes, module by module.

    Args:
        episodes: one iteration's.
        gradient: gives the credit.
        reward_scale: factor on the rewards.
    """
    for module_id in sorted({str(episode.module_id) for episode in episodes}):
        own = [episode for episode in episodes if episode.module_id == module_id]
        for column, parts in gradient.credit(stretches_of(own, reward_scale)).items():
            for episode, part in zip(own, parts, strict=True):
                episode.extra_model_outputs[column] = InfiniteLookbackBuffer(part)


def stretches_of(episodes: Sequence[SingleAgentEpisode], reward_scale: float) -> list[Stretch]:
    """The steps of pieces of episodes; each piece has a beginning of its own."""
    stretches = []
    for number, episode in enumerate(episodes):
        rewards = np.asarray(episode.rewards.data) * np.float32(reward_scale)
        outputs = episode.extra_model_outputs
        following = float(outputs[NEXT_VALUES].data[-1])
        stretches.append(
            Stretch(
                episode=number,
                place=0,
                group=number,
                role=str(episode.agent_id),
                rewards=rewards,
                total=float(rewards.sum()),
                values=np.asarray(outputs[Columns.VF_PREDS].data),
                next_value=0.0 if episode.is_terminated else following,
            )
        )
    return stretches


class BatchEpisodes(ConnectorV2):
    """Learner connector: concatenates the steps of all episodes, module by module.

    The steps stand in the order in which they were sampled: RLlib reorders the episodes for remote
    learners, and the minibatches of all learners shall be the same.
    """

    def __call__(
        self, *, rl_module: RLModule, episodes: Sequence[Any], **_: Any
    ) -> dict[str, dict[str, Tensor]]:
        """Columns [N, ...] by module, on the module's device."""
        modules = cast("MultiRLModule", rl_module)
        return {
            module_id: {
                key: torch.from_numpy(column).to(_device_of(modules[module_id]))
                for key, column in columns.items()
            }
            for module_id, columns in join_steps(episodes).items()
        }


def join_steps(episodes: Sequence[SingleAgentEpisode]) -> dict[str, dict[str, NDArray[Any]]]:
    """The steps of all episodes in the order of sampling: module -> columns [N, ...]."""
    by_module: dict[str, list[SingleAgentEpisode]] = {}
    for episode in sorted(episodes, key=lambda episode: str(episode.id_)):
        by_module.setdefault(str(episode.module_id), []).append(episode)
    return {module_id: _join(by_module[module_id]) for module_id in sorted(by_module)}


def share_steps(episodes: Sequence[SingleAgentEpisode], num_learners: int) -> list[MultiAgentBatch]:
    """The steps of all episodes in equal shares, each with steps of every module.

    RLlib's own division is by whole episodes: a learner may then have no step of a module, and
    waits indefinitely for the others' gradients of it. Rows that make up the number are not
    `VALID`.
    """
    columns = join_steps(episodes)
    for steps in columns.values():
        steps[VALID] = np.ones(len(steps[Columns.OBS]), np.bool_)
    return [make_share(columns, share, num_learners) for share in range(num_learners)]


def _join(episodes: Sequence[SingleAgentEpisode]) -> dict[str, NDArray[Any]]:
    columns = {
        Columns.OBS: [episode.observations.data[:-1] for episode in episodes],
        ACTIONS: [episode.actions.data for episode in episodes],
    }
    for key, name in COLUMNS.items():
        if name in episodes[0].extra_model_outputs:
            columns[key] = [episode.extra_model_outputs[name].data for episode in episodes]
    return {key: np.concatenate(parts) for key, parts in columns.items()}


class WindowLearner(GradientLearner):
    """Updates policies on windows of tokens; the gradient's settings are a `PPOConfig`."""

    def parameter_groups(self, policy: Any) -> list[ParameterGroup]:
        """The filter's parameters in a group of their own."""
        ppo: PPOConfig = self.gradient.settings
        return optimiser_groups(policy, ppo.learning_rate, ppo.weight_decay, ppo.filter_lr_scale)

    def read_outputs(self, logits: Tensor, values: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Those of the steps that count."""
        if VALID not in batch:
            return logits, values
        return logits[batch[VALID]], values[batch[VALID]]


def _device_of(module: RLModule) -> torch.device:
    return next(cast("torch.nn.Module", module).parameters()).device
