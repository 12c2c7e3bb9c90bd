"""RLlib's learner for token policies: from episodes to gradient steps.

It owns the batch, the optimiser groups and the schedules. Advantages arrive with the episodes
(`rollouts.vector_runner` estimates them, `ppo_algorithm` whitens them over the whole batch, before
it is divided among learners). Every update is seeded by its number, so that a resumed run shuffles
as the uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import MultiAgentBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor, distributed
from torch.optim import Adam, Optimizer

from parley.platform.control.fragment import ADVANTAGES, VALUE_TARGETS
from parley.platform.engine.rllib.ppo_loss import PPOTerms, compute_ppo_loss
from parley.platform.engine.rllib.sequence_batch import make_share
from parley.platform.engine.rllib.weight_receiver import hash_weights
from parley.platform.engine.torch.loss_fault import LossFault, NonFiniteLossError, batch_columns
from parley.policies.rows import VALID
from parley.policies.token.actor_critic import optimiser_groups
from parley.policies.token.window_module import TokenModule

EXTRA_COLUMNS = (Columns.ACTION_LOGP, Columns.VF_PREDS, ADVANTAGES, VALUE_TARGETS)
ADAM_EPSILON = 1e-5


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
        Columns.ACTIONS: [episode.actions.data for episode in episodes],
    }
    for key in EXTRA_COLUMNS:
        columns[key] = [episode.extra_model_outputs[key].data for episode in episodes]
    return {key: np.concatenate(parts) for key, parts in columns.items()}


class WindowPPOLearner(PPOTorchLearner):
    """PPO on windows of tokens; its settings are `learner_config_dict["ppo"]` (`PPOConfig`)."""

    def build(self) -> None:
        """Build the modules and optimisers; the clip and coefficients come from `PPOConfig`."""
        num_threads = self.config.learner_config_dict["num_threads"]
        if num_threads:
            torch.set_num_threads(num_threads)
        super().build()
        self._progress = 0.0
        self._num_env_steps = 0
        self._terms: dict[str, list[PPOTerms]] = {}
        self._batches: dict[str, dict[str, Any]] = {}

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam with the filter's parameters in a group of their own."""
        ppo = self.config.learner_config_dict["ppo"]
        module = cast("TokenModule", self.module[module_id].unwrapped())
        groups = optimiser_groups(
            module.policy,
            ppo.learning_rate,
            ppo.weight_decay,
            ppo.filter_lr_scale,
        )
        optimiser = Adam(groups, lr=ppo.learning_rate, eps=ADAM_EPSILON, fused=True)
        self.register_optimizer(
            module_id=module_id,
            optimizer=optimiser,
            params=[parameter for group in groups for parameter in group["params"]],
            lr_or_lr_schedule=ppo.learning_rate,
        )

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set the schedules and the seed of this update."""
        super().before_gradient_based_update(timesteps=timesteps)
        settings = self.config.learner_config_dict
        num_steps = self._num_env_steps = int(timesteps[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        self._progress = min(1.0, num_steps / settings["ppo"].anneal_env_steps)
        stream = np.random.SeedSequence([settings["seed"], num_steps])
        np.random.seed(stream.generate_state(4))
        torch.manual_seed(int(stream.generate_state(1)[0]))
        ppo = settings["ppo"]
        for optimiser in self._named_optimizers.values():
            self._set_optimizer_lr(
                optimiser, self._interpolate(ppo.learning_rate, ppo.learning_rate_final)
            )
        self._terms, self._batches = {}, {}

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """PPO's loss (see `ppo_loss`), weighted by the learner's part of the steps."""
        ppo = self.config.learner_config_dict["ppo"]
        outputs = {key: fwd_out[key] for key in (Columns.ACTION_DIST_INPUTS, Columns.VF_PREDS)}
        weight = 1.0
        if VALID in batch:
            valid = batch[VALID]
            weight = self.weigh(valid.sum())
            if weight == 0.0:
                return sum(0.0 * output.sum() for output in outputs.values())
            outputs = {key: output[valid] for key, output in outputs.items()}
            batch = {key: column[valid] for key, column in batch.items()}
        terms = compute_ppo_loss(
            outputs[Columns.ACTION_DIST_INPUTS],
            outputs[Columns.VF_PREDS],
            batch[Columns.ACTIONS],
            batch[Columns.ACTION_LOGP],
            batch[Columns.VF_PREDS],
            batch[ADVANTAGES],
            batch[VALUE_TARGETS],
            clip=ppo.clip,
            value_clip=ppo.value_clip,
            value_coefficient=ppo.value_coefficient,
            entropy_coefficient=self._interpolate(
                ppo.entropy_coefficient, ppo.entropy_coefficient_final
            ),
        ).times(weight)
        self.keep_terms(module_id, batch, terms)
        return terms.total

    def keep_terms(self, module_id: str, batch: dict[str, Any], terms: PPOTerms) -> None:
        """Keep a minibatch's terms for the report, and what they came from in case they fail."""
        self._terms.setdefault(module_id, []).append(terms)
        self._batches[module_id] = batch

    def weigh(self, num_rows: Tensor) -> float:
        """The learner's rows as a multiple of the mean over all learners; 0 where it has none.

        Learners average their gradients. With losses so weighted, the average is the gradient of
        the mean over the rows of all, however they are divided.
        """
        num_learners = self.config.num_learners
        if num_learners < 2:
            return float(num_rows.item() > 0)
        all_rows = num_rows.clone()
        distributed.all_reduce(all_rows)
        return float(num_learners * num_rows.item() / max(1, all_rows.item()))

    def postprocess_gradients(self, gradients_dict: dict[Any, Any]) -> dict[Any, Any]:
        """Scale the gradient of all modules together down to the allowed length.

        A module that had no data in this update has None for gradients.

        Raises:
            NonFiniteLossError: a loss or gradient is not finite, in any learner.
        """
        max_norm = self.config.learner_config_dict["ppo"].max_grad_norm
        gradients = [gradient for gradient in gradients_dict.values() if gradient is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not self._is_finite(norm):
            raise self._diverged(norm.item())
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return gradients_dict

    def _is_finite(self, norm: Tensor) -> bool:
        """Whether this step's losses and gradient are numbers, in all learners: they stop together,
        else some would wait for the others."""
        losses = [self._terms[module_id][-1].total for module_id in self._batches]
        finite = torch.stack([norm, *losses]).isfinite().all()
        if self.config.num_learners > 1:
            all_finite = finite.float()
            distributed.all_reduce(all_finite, op=distributed.ReduceOp.MIN)
            return bool(all_finite)
        return bool(finite)

    def _diverged(self, norm: float) -> NonFiniteLossError:
        losses = {
            module_id: {
                name: float(term.detach())
                for name, term in vars(self._terms[module_id][-1]).items()
            }
            for module_id in self._batches
        }
        columns: dict[str, NDArray[Any]] = {}
        for module_id, batch in self._batches.items():
            columns |= batch_columns(batch, f"{module_id}/")
        facts = {
            "env_steps": self._num_env_steps,
            "losses": losses,
            "gradient_norm": norm,
            "learning_rates": {
                name: [float(group["lr"]) for group in optimiser.param_groups]
                for name, optimiser in self._named_optimizers.items()
            },
            "weights_hash": hash_weights(self.module.get_state()),
        }
        totals = ", ".join(f"{terms['total']:g}" for terms in losses.values())
        return NonFiniteLossError(
            f"the loss is {totals} and the gradient's length {norm:g}; lower ppo.learning_rate or "
            f"ppo.max_grad_norm",
            LossFault(facts, columns),
        )

    def apply_gradients(self, gradients_dict: dict[Any, Tensor]) -> None:
        """Step the optimisers; the gradients are in place and known to be finite."""
        for optimiser in self._named_optimizers.values():
            optimiser.step()

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Log the means of the loss terms over the update's minibatches."""
        TorchLearner.after_gradient_based_update(self, timesteps=timesteps)
        for module_id, all_terms in self._terms.items():
            means = {
                name: torch.stack([getattr(terms, name).detach() for terms in all_terms]).mean()
                for name in ("policy", "value", "entropy", "kl", "clip_fraction")
            }
            self.metrics.log_dict(
                {
                    f"{name}_loss" if name in ("policy", "value") else name: mean.item()
                    for name, mean in means.items()
                },
                key=module_id,
                window=1,
            )
        self._terms, self._batches = {}, {}

    @staticmethod
    def _set_optimizer_lr(optimizer: Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]

    def _interpolate(self, start: float, end: float) -> float:
        """A value on the straight line from `start` to `end` over `anneal_env_steps`."""
        return start + (end - start) * self._progress


def _device_of(module: RLModule) -> torch.device:
    return next(cast("torch.nn.Module", module).parameters()).device
