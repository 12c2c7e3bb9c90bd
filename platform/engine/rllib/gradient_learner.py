"""RLlib's learner as all workflows use it: seeded updates, schedules, one loss, checked gradients.

What a batch is belongs to the subclasses (windows of tokens, rows of whole sequences), what is
learned from it to the policy gradient. Every update is seeded by its number, so that a resumed run
shuffles as the uninterrupted one.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor, distributed
from torch.optim import Optimizer

from parley.platform.engine.rllib.gradients.policy_gradient import (
    ACTIONS,
    ADVANTAGES,
    LOG_PROBS,
    VALUE_TARGETS,
    VALUES,
    Drawn,
    PolicyGradient,
)
from parley.platform.engine.rllib.loss import LossTerms, compute_loss
from parley.platform.engine.rllib.schedules import Schedule
from parley.platform.engine.rllib.weight_receiver import hash_weights
from parley.platform.engine.torch.loss_fault import LossFault, NonFiniteLossError, batch_columns
from parley.platform.records import Batch, ParameterGroup
from parley.policies.rows import VALID

SETTINGS = "settings"
"""Key of `learner_config_dict`, whose only entry is a `LearnerSettings`."""
ITERATION = "iteration"
"""Key of `timesteps`: how many iterations came before."""
OUTPUTS = (Columns.ACTION_DIST_INPUTS, Columns.VF_PREDS)


@dataclass(frozen=True)
class Schedules:
    """What changes while a run goes on."""

    learning_rate: Schedule
    entropy_coefficient: Schedule
    """Weight of the entropy bonus."""
    counter: str = ITERATION
    """Key of `timesteps` that both count."""


@dataclass(frozen=True)
class LearnerSettings:
    """What a learner is told."""

    gradient: PolicyGradient[Any]
    section: str
    """Section of the experiment that holds the gradient's settings."""
    seed: int
    num_threads: int
    """Of torch; 0: as many as it chooses."""
    schedules: Schedules
    temperature: float
    """Of the sampler."""


class GradientLearner(TorchLearner):
    """Updates policies by a policy gradient; subclasses give the parameter groups."""

    @property
    def settings(self) -> LearnerSettings:
        """What it was told."""
        settings: LearnerSettings = self.config.learner_config_dict[SETTINGS]
        return settings

    @property
    def gradient(self) -> PolicyGradient[Any]:
        """What it follows."""
        return self.settings.gradient

    def build(self) -> None:
        """Build the modules and optimisers."""
        if self.settings.num_threads:
            torch.set_num_threads(self.settings.num_threads)
        super().build()
        self._num_env_steps = 0
        self._entropy_coefficient = self.settings.schedules.entropy_coefficient.at(0)
        self._terms: dict[str, list[LossTerms]] = {}
        self._batches: dict[str, Batch] = {}

    @abstractmethod
    def parameter_groups(self, policy: Any) -> list[ParameterGroup]:
        """The optimiser's groups, each with its `lr_scale`: a multiple of the learning rate."""

    def read_outputs(self, logits: Tensor, values: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits [N, V] of what the N tokens were drawn from, and values [N], of a module's."""
        return logits, values

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One optimiser for a whole policy."""
        module: Any = self.module[module_id].unwrapped()
        groups = self.parameter_groups(module.policy)
        self.register_optimizer(
            module_id=module_id,
            optimizer=self.gradient.make_optimiser(groups),
            params=[parameter for group in groups for parameter in group["params"]],
            lr_or_lr_schedule=self.settings.schedules.learning_rate.at(0),
        )

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set the schedules and the seed of this update."""
        super().before_gradient_based_update(timesteps=timesteps)
        settings = self.settings
        number = self._num_env_steps = int(timesteps[NUM_ENV_STEPS_SAMPLED_LIFETIME])
        stream = np.random.SeedSequence([settings.seed, number])
        np.random.seed(stream.generate_state(4))
        torch.manual_seed(int(stream.generate_state(1)[0]))
        count = int(timesteps[settings.schedules.counter])
        for optimiser in self._named_optimizers.values():
            self._set_optimizer_lr(optimiser, settings.schedules.learning_rate.at(count))
        self._entropy_coefficient = settings.schedules.entropy_coefficient.at(count)
        self._terms, self._batches = {}, {}

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Batch, fwd_out: Batch
    ) -> Tensor:
        """The loss over the N tokens that count, weighted by the learner's part of them."""
        logits, values = (fwd_out[key] for key in OUTPUTS)
        weight = self.weigh(self.gradient.count(batch[VALID])) if VALID in batch else 1.0
        if weight == 0.0:  # rows that only make up the number of a learner's share
            return 0.0 * logits.sum() + 0.0 * values.sum()
        logits, values = self.read_outputs(logits, values, batch)
        drawn, bonus = read_drawn(batch), self._entropy_coefficient
        terms = compute_loss(self.gradient, logits.float(), values.float(), drawn, bonus)
        terms = terms.times(weight)
        self._terms.setdefault(module_id, []).append(terms)
        self._batches[module_id] = batch
        return terms.total

    def weigh(self, num_parts: Tensor) -> float:
        """The learner's parts as a multiple of the mean over all learners; 0 where it has none.

        Learners average their gradients. With losses so weighted, the average is the gradient of
        the mean over the parts of all, however they are divided.
        """
        num_learners = self.config.num_learners
        if num_learners < 2:
            return float(num_parts.item() > 0)
        all_parts = num_parts.clone()
        distributed.all_reduce(all_parts)
        return float(num_learners * num_parts.item() / max(1, all_parts.item()))

    def postprocess_gradients(self, gradients_dict: dict[Any, Any]) -> dict[Any, Any]:
        """Scale the gradient of all modules together down to the allowed length.

        A module that had no data in this update has None for gradients.

        Raises:
            NonFiniteLossError: a loss or gradient is infinite or not a number, in any learner.
        """
        gradients = [gradient for gradient in gradients_dict.values() if gradient is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not self._is_finite(norm):
            raise self._diverged(norm.item())
        max_norm = self.gradient.settings.max_grad_norm
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return gradients_dict

    def apply_gradients(self, gradients_dict: dict[Any, Tensor]) -> None:
        """Step the optimisers; the gradients are in place and known to be finite."""
        for optimiser in self._named_optimizers.values():
            optimiser.step()

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Log the means of the loss terms over the update's minibatches."""
        super().after_gradient_based_update(timesteps=timesteps)
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
        section = self.settings.section
        return NonFiniteLossError(
            f"the loss is {totals} and the gradient's length {norm:g}; lower "
            f"{section}.learning_rate or {section}.max_grad_norm",
            LossFault(facts, columns),
        )

    @staticmethod
    def _set_optimizer_lr(optimizer: Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]


def read_drawn(batch: Batch) -> Drawn:
    """The tokens of a batch: all its rows [R], or the `VALID` places of rows [R] or [R, A]."""
    valid = batch.get(VALID)
    columns = {
        key: batch[key] if valid is None else batch[key][valid]
        for key in (ACTIONS, LOG_PROBS, VALUES, ADVANTAGES, VALUE_TARGETS)
        if key in batch
    }
    return Drawn(
        actions=columns[ACTIONS],
        log_probs=columns[LOG_PROBS],
        values=columns[VALUES],
        advantages=columns[ADVANTAGES],
        value_targets=columns.get(VALUE_TARGETS),
        valid=torch.ones_like(columns[ACTIONS], dtype=torch.bool) if valid is None else valid,
    )
