"""Next-token training: batches of tokens and labels, the loss, gradient steps.

Plain torch, without Ray, and without a thought about what the tokens mean: episodes and traces are
learned alike. Every gradient step is a function of the seed, its number and the state before it: a
learner that is restored goes on as the one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from parley.envs.labels import IGNORED_LABEL
from parley.platform.engine.torch.loss_fault import LossFault, NonFiniteLossError, batch_columns
from parley.platform.engine.torch.optimiser import JointOptimiser, split_parameters
from parley.platform.engine.torch.precision import mixed_precision
from parley.platform.engine.torch.schedule import learning_rate_factor
from parley.platform.records import Batch, State
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM, parameter_groups


class NextTokenSettings(Protocol):
    """What a learner has to be told; the `training` table of an experiment."""

    num_steps: int
    learning_rate: float
    matrix_learning_rate: float | None
    warmup_steps: int
    weight_decay: float
    filter_lr_scale: float
    max_grad_norm: float
    eval_interval: int


@dataclass(frozen=True)
class TokenBatch:
    """B right-padded rows of T tokens: what to read and what to predict."""

    inputs: Tensor
    """int64 [B, T]: any token stands for padding; the mask of a causal model makes it harmless."""
    targets: Tensor
    """int64 [B, T]: what to say after each input; IGNORED_LABEL where nothing is predicted."""
    num_tokens: int
    """Tokens of `inputs`, padding left out."""

    @property
    def num_targets(self) -> int:
        """Tokens to predict."""
        return int((self.targets != IGNORED_LABEL).sum())

    @property
    def num_places(self) -> int:
        """Places from the first with a target in any row to the end; what stands before is read
        alone."""
        predicted = (self.targets != IGNORED_LABEL).any(0)
        return len(predicted) - int(predicted.long().argmax())

    def share(self, rank: int, num_ranks: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of every `num_ranks`-th row, beginning with `rank`.

        Where there are fewer rows than ranks, the last ranks read one and predict nothing.
        """
        if rank >= len(self.inputs):
            return self.inputs[:1], torch.full_like(self.targets[:1], IGNORED_LABEL)
        return self.inputs[rank::num_ranks], self.targets[rank::num_ranks]


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats [B, T] of each target int64 [B, T] under logits [B, T, V]; 0 where it is ignored."""
    losses = F.cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORED_LABEL,
        reduction="none",
    )
    return losses.view(targets.shape)


class NextTokenLearner:
    """Gradient steps on a language model.

    Args:
        model: the language model, on its device.
        training: the settings.
        seed: of noise in the model.
        rank, num_ranks: which share of every batch this learner takes. With several, `forward`
            must average gradients over them, as DistributedDataParallel does.
        forward: calls `model`; the model itself by default.
    """

    def __init__(
        self,
        model: DHMMGPT2ForCausalLM,
        training: NextTokenSettings,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        forward: nn.Module | None = None,
    ) -> None:
        self.model = model
        self.training = training
        self.seed = seed
        self.rank = rank
        self.num_ranks = num_ranks
        self.num_steps = 0
        self.device = next(model.parameters()).device
        self._forward = model if forward is None else forward
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimiser = _make_optimiser(model, training)

    def learn(self, batch: TokenBatch) -> float:
        """Take one gradient step; give this learner's part of the batch's mean loss.

        The parts of all ranks add up to the mean loss, in nats per token.

        Args:
            batch: the whole one, of which this learner takes its share.

        Raises:
            NonFiniteLossError: the gradient is not finite; the weights are as before.
        """
        inputs, targets = (
            tensor.to(self.device) for tensor in batch.share(self.rank, self.num_ranks)
        )
        torch.manual_seed(self._noise_seed())
        self.model.train()
        num_places = batch.num_places
        with mixed_precision(self.device):
            logits = self._forward(inputs, logits_to_keep=num_places).logits
        part = token_losses(logits, targets[:, -num_places:]).sum() / batch.num_targets
        self._optimiser.zero_grad()
        # Averaging over the ranks divides by their number.
        (part * self.num_ranks).backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, self.training.max_grad_norm)
        factor = learning_rate_factor(
            self.num_steps, self.training.warmup_steps, self.training.num_steps
        )
        if not torch.isfinite(norm):
            raise self._diverged(norm.item(), part.item(), factor, {**vars(batch)})
        self._optimiser.step(factor)
        self.num_steps += 1
        return part.item()

    def _diverged(
        self, norm: float, loss: float, factor: float, batch: Batch
    ) -> NonFiniteLossError:
        facts = {
            "step": self.num_steps + 1,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": self.training.learning_rate * factor,
            "rank": self.rank,
        }
        return NonFiniteLossError(
            f"the gradient's length is {norm} at gradient step {self.num_steps + 1}; "
            f"lower training.learning_rate or training.max_grad_norm",
            LossFault(facts, batch_columns(batch)),
        )

    def weights(self) -> dict[str, NDArray[Any]]:
        """The model's state dict as arrays of their own."""
        return {name: _array(tensor) for name, tensor in self.model.state_dict().items()}

    def optimiser_state(self) -> State:
        """Step and moments: plain values and arrays, see `checkpoints.state_tree`."""
        return {"num_steps": self.num_steps, "moments": self._optimiser.state()}

    def restore(self, weights: Mapping[str, NDArray[Any]], state: Mapping[str, Any] | None) -> None:
        """Take over weights and, where given, the optimiser's state."""
        self.model.load_state_dict({name: _tensor(array) for name, array in weights.items()})
        if state is None:
            return
        self.num_steps = state["num_steps"]
        self._optimiser.restore(state["moments"])

    def _noise_seed(self) -> int:
        stream = np.random.SeedSequence([self.seed, self.num_steps, self.rank])
        return int(stream.generate_state(1)[0])


def _make_optimiser(model: DHMMGPT2ForCausalLM, training: NextTokenSettings) -> JointOptimiser:
    rate = training.matrix_learning_rate
    matrices, others = split_parameters(model)
    groups = parameter_groups(
        model,
        training.learning_rate,
        training.weight_decay,
        training.filter_lr_scale,
        among=others if rate else None,
    )
    if not rate:
        return JointOptimiser(groups)
    return JointOptimiser(groups, matrices, rate, training.weight_decay)


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy().copy()
    return array


def _tensor(array: NDArray[Any]) -> Tensor:
    """A tensor of its own: what Ray delivers is read-only."""
    return torch.from_numpy(np.array(array))
