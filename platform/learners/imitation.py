"""Next-token prediction on recorded episodes: windows, loss by kind of token, gradient steps.

Plain torch, without Ray. Every gradient step is a function of (seed, step) and the state before it:
a learner that is restored goes on as the one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from parley.envs.cartpole.episodes import EpisodeSet
from parley.envs.cartpole.sequences import IGNORED_LABEL
from parley.envs.cartpole.tokens import ACT_LEFT, ACT_RIGHT, DONE, STEP_TOKENS
from parley.platform.config.cartpole import ImitationTrainingConfig
from parley.platform.errors import ParleyError
from parley.platform.models.schedule import learning_rate_factor
from parley.policies.actor_critic import optimiser_groups
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM

KINDS = ("state", "action", "done")
"""Kinds of predicted tokens, in the order of every per-kind figure."""
EVALUATION_BATCH = 512
"""Windows of one forward pass over the held-out episodes."""


class DivergedError(ParleyError):
    """A gradient that is not a number; nothing was learned from the batch."""


@dataclass(frozen=True)
class Windows:
    """B stretches of episodes, right-padded to T + 1 tokens: what to read and what to predict."""

    inputs: Tensor
    """int64 [B, T]: padding is DONE, which the mask of a causal model makes harmless."""
    targets: Tensor
    """int64 [B, T]: the token after each input; IGNORED_LABEL on padding."""

    @property
    def num_targets(self) -> int:
        """Tokens to predict."""
        return int((self.targets != IGNORED_LABEL).sum())

    def share(self, rank: int, num_ranks: int) -> Windows:
        """Every `num_ranks`-th window, beginning with `rank`."""
        return Windows(self.inputs[rank::num_ranks], self.targets[rank::num_ranks])

    def to(self, device: torch.device) -> Windows:
        """The same on `device`."""
        return Windows(self.inputs.to(device), self.targets.to(device))


class WindowSource:
    """Cuts windows that begin at a step boundary out of episodes.

    A window is `crop_steps` time steps and the token that answers them: a whole window is
    `5 * crop_steps + 1` tokens. At the end of an episode it is shorter. A window that begins
    within an episode opens with an action, one that begins with it with RESET, as the windows that
    a policy reads.

    Args:
        episodes: where to cut.
        crop_steps: time steps of a window.
        labels: predict `episodes.labels` where true, the tokens themselves otherwise.
    """

    def __init__(self, episodes: EpisodeSet, crop_steps: int, labels: bool) -> None:
        if labels and episodes.labels is None:
            raise ValueError("the episodes have no labels")
        self.crop_steps = crop_steps
        self._tokens = episodes.tokens.astype(np.int64)
        chosen = episodes.labels if labels and episodes.labels is not None else episodes.tokens
        self._labels = chosen.astype(np.int64)
        num_steps = episodes.lengths + 1
        first_steps = np.concatenate([[0], np.cumsum(num_steps)[:-1]])
        self._step_in_episode = np.arange(num_steps.sum()) - np.repeat(first_steps, num_steps)
        self._stops = np.repeat(episodes.offsets[1:], num_steps)
        self._starts = np.repeat(episodes.offsets[:-1], num_steps) + (
            STEP_TOKENS * self._step_in_episode
        )

    @property
    def num_starts(self) -> int:
        """Step boundaries at which a window may begin."""
        return len(self._starts)

    def draw(self, num_windows: int, seed: int, step: int) -> Windows:
        """Windows at random boundaries, the same for the same (seed, step)."""
        generator = np.random.default_rng([seed, step])
        return self._cut(generator.integers(self.num_starts, size=num_windows))

    def cover(self) -> list[Windows]:
        """Batches in which every token but RESET is predicted exactly once."""
        boundaries = np.flatnonzero(self._step_in_episode % self.crop_steps == 0)
        edges = range(0, len(boundaries), EVALUATION_BATCH)
        return [self._cut(boundaries[edge : edge + EVALUATION_BATCH]) for edge in edges]

    def _cut(self, boundaries: NDArray[np.int64]) -> Windows:
        offsets = np.arange(STEP_TOKENS * self.crop_steps + 1)
        places = self._starts[boundaries, None] + offsets  # [B, T + 1]
        inside = places < self._stops[boundaries, None]
        places = np.minimum(places, len(self._tokens) - 1)
        tokens = np.where(inside, self._tokens[places], DONE)
        labels = np.where(inside, self._labels[places], IGNORED_LABEL)
        return Windows(torch.from_numpy(tokens[:, :-1]), torch.from_numpy(labels[:, 1:]))


@dataclass
class KindLosses:
    """Sums of the loss by kind of the predicted token, in the order of `KINDS`."""

    nats: Tensor
    """float64 [3]"""
    counts: Tensor
    """int64 [3]"""

    @classmethod
    def measure(cls, token_losses: Tensor, targets: Tensor) -> KindLosses:
        """Sum the losses [B, T] of `targets` int64 [B, T]; ignored ones count nowhere."""
        is_action = (targets == ACT_LEFT) | (targets == ACT_RIGHT)
        is_done = targets == DONE
        is_state = (targets != IGNORED_LABEL) & ~is_action & ~is_done
        masks = torch.stack([is_state, is_action, is_done]).flatten(1)  # [3, B * T]
        losses = token_losses.detach().double().flatten()
        return cls(masks.double() @ losses, masks.sum(1))

    def __add__(self, other: KindLosses) -> KindLosses:
        """The sums over both."""
        return KindLosses(self.nats + other.nats, self.counts + other.counts)

    def means(self, prefix: str) -> dict[str, float | None]:
        """Nats per token: `<prefix>` over all, `<prefix>_<kind>` by kind, None where none is."""
        figures = {prefix: _mean(float(self.nats.sum()), int(self.counts.sum()))}
        for kind, nats, count in zip(KINDS, self.nats.tolist(), self.counts.tolist(), strict=True):
            figures[f"{prefix}_{kind}"] = _mean(nats, count)
        return figures


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats [B, T] of each target int64 [B, T] under logits [B, T, V]; 0 where it is ignored."""
    losses = F.cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORED_LABEL,
        reduction="none",
    )
    return losses.view(targets.shape)


class ImitationLearner:
    """Gradient steps on a language model.

    Args:
        model: the language model, on its device.
        training: the settings.
        seed: of the batches and of noise in the model.
        rank, num_ranks: which share of every batch this learner takes. With several, `forward`
            must average gradients over them, as DistributedDataParallel does.
        forward: calls `model`; the model itself by default.
    """

    def __init__(
        self,
        model: DHMMGPT2ForCausalLM,
        training: ImitationTrainingConfig,
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
        self._forward = model if forward is None else forward
        self._device = next(model.parameters()).device
        groups = optimiser_groups(
            model, training.learning_rate, training.weight_decay, training.filter_lr_scale
        )
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(groups, lr=training.learning_rate, foreach=True)

    def learn(self, source: WindowSource) -> float:
        """Take one gradient step; give this learner's part of the batch's mean loss.

        The parts of all ranks add up to the mean loss, in nats per token.

        Raises:
            DivergedError: the gradient is not finite; the weights are as before.
        """
        batch = source.draw(self.training.batch_size, self.seed, self.num_steps)
        own = batch.share(self.rank, self.num_ranks).to(self._device)
        torch.manual_seed(self._noise_seed())
        self.model.train()
        logits = self._forward(own.inputs).logits
        part = token_losses(logits, own.targets).sum() / batch.num_targets
        self._optimiser.zero_grad()
        # Averaging over the ranks divides by their number.
        (part * self.num_ranks).backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, self.training.max_grad_norm)
        if not torch.isfinite(norm):
            raise DivergedError(
                f"the gradient's length is {norm.item()} at gradient step {self.num_steps + 1}; "
                f"lower training.learning_rate or training.max_grad_norm"
            )
        factor = learning_rate_factor(
            self.num_steps, self.training.warmup_steps, self.training.num_steps
        )
        for group in self._optimiser.param_groups:
            group["lr"] = self.training.learning_rate * group["lr_scale"] * factor
        self._optimiser.step()
        self.num_steps += 1
        return part.item()

    @torch.no_grad()
    def evaluate(self, source: WindowSource) -> KindLosses:
        """The loss over all tokens of all episodes of `source`."""
        self.model.eval()
        sums = KindLosses(torch.zeros(len(KINDS), dtype=torch.float64), torch.zeros(3).long())
        for batch in source.cover():
            windows = batch.to(self._device)
            losses = token_losses(self.model(windows.inputs).logits, windows.targets)
            measured = KindLosses.measure(losses, windows.targets)
            sums += KindLosses(measured.nats.cpu(), measured.counts.cpu())
        return sums

    def weights(self) -> dict[str, NDArray[Any]]:
        """The model's state dict as arrays of their own."""
        return {name: _array(tensor) for name, tensor in self.model.state_dict().items()}

    def optimiser_state(self) -> dict[str, Any]:
        """Step and moments: plain values and arrays, see `checkpoints.state_tree`."""
        moments = self._optimiser.state_dict()["state"]
        return {
            "num_steps": self.num_steps,
            "moments": {
                index: {name: _array(tensor) for name, tensor in entry.items()}
                for index, entry in moments.items()
            },
        }

    def restore(self, weights: Mapping[str, NDArray[Any]], state: Mapping[str, Any] | None) -> None:
        """Take over weights and, where given, the optimiser's state."""
        self.model.load_state_dict({name: _tensor(array) for name, array in weights.items()})
        if state is None:
            return
        self.num_steps = state["num_steps"]
        whole = self._optimiser.state_dict()
        whole["state"] = {
            index: {name: _tensor(array) for name, array in entry.items()}
            for index, entry in state["moments"].items()
        }
        self._optimiser.load_state_dict(whole)

    def _noise_seed(self) -> int:
        stream = np.random.SeedSequence([self.seed, self.num_steps, self.rank])
        return int(stream.generate_state(1)[0])


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy().copy()
    return array


def _tensor(array: NDArray[Any]) -> Tensor:
    """A tensor of its own: what Ray delivers is read-only."""
    return torch.from_numpy(np.array(array))
