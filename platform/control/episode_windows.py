"""Recorded CartPole episodes as a source of next-token batches, and the loss by kind of token.

Every batch is a function of (seed, step).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from torch import Tensor

from parley.envs.cartpole.episodes import EpisodeSet
from parley.envs.cartpole.tokens import ACT_LEFT, ACT_RIGHT, DONE, STEP_TOKENS
from parley.envs.labels import IGNORED_LABEL
from parley.platform.engine.next_token.gradient_step import TokenBatch, token_losses
from parley.platform.terminal.activities import each
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM

KINDS = ("state", "action", "done")
"""Kinds of predicted tokens, in the order of every per-kind figure."""
EVALUATION_BATCH = 512
"""Windows of one forward pass over the held-out episodes."""


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

    def draw(self, num_windows: int, seed: int, step: int) -> TokenBatch:
        """Windows at random boundaries, the same for the same (seed, step)."""
        generator = np.random.default_rng([seed, step])
        return self._cut(generator.integers(self.num_starts, size=num_windows))

    def cover(self) -> list[TokenBatch]:
        """Batches in which every token but RESET is predicted exactly once."""
        boundaries = np.flatnonzero(self._step_in_episode % self.crop_steps == 0)
        edges = range(0, len(boundaries), EVALUATION_BATCH)
        return [self._cut(boundaries[edge : edge + EVALUATION_BATCH]) for edge in edges]

    def _cut(self, boundaries: NDArray[np.int64]) -> TokenBatch:
        offsets = np.arange(STEP_TOKENS * self.crop_steps + 1)
        places = self._starts[boundaries, None] + offsets  # [B, T + 1]
        inside = places < self._stops[boundaries, None]
        places = np.minimum(places, len(self._tokens) - 1)
        tokens = np.where(inside, self._tokens[places], DONE)
        labels = np.where(inside, self._labels[places], IGNORED_LABEL)
        return TokenBatch(
            torch.from_numpy(tokens[:, :-1]),
            torch.from_numpy(labels[:, 1:]),
            num_tokens=int(inside[:, :-1].sum()),
        )


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


@dataclass(frozen=True)
class ImitationTask:
    """Recorded episodes to learn, and those to measure the held-out loss on."""

    training_episodes: Any
    """Reference to an `EpisodeSet`."""
    heldout_episodes: Any
    """Reference to an `EpisodeSet`."""
    crop_steps: int
    """Time steps of a window."""
    labels: bool
    """Predict the episodes' labels where true, the tokens themselves otherwise."""
    num_windows: int
    """Windows of a batch."""
    seed: int
    """Of the batches."""

    def open(self, first_step: int, num_ranks: int) -> ImitationSource:
        """Fetch the episodes."""
        training, heldout = (
            WindowSource(ray.get(reference), self.crop_steps, self.labels)
            for reference in (self.training_episodes, self.heldout_episodes)
        )
        return ImitationSource(training, heldout, self.num_windows, self.seed)


@dataclass(frozen=True)
class ImitationSource:
    """A worker's batches of windows, and its held-out loss."""

    training: WindowSource
    heldout: WindowSource
    num_windows: int
    seed: int

    def batch(self, step: int) -> TokenBatch:
        """Windows at random boundaries."""
        return self.training.draw(self.num_windows, self.seed, step)

    def measure(self, model: DHMMGPT2ForCausalLM) -> dict[str, float | None]:
        """The held-out loss, by kind of token too."""
        return measure_kinds(model, self.heldout).means("heldout_loss")


@torch.no_grad()
def measure_kinds(model: DHMMGPT2ForCausalLM, source: WindowSource) -> KindLosses:
    """The loss over all tokens of all episodes of `source`."""
    model.eval()
    device = next(model.parameters()).device
    sums = KindLosses(torch.zeros(len(KINDS), dtype=torch.float64), torch.zeros(3).long())
    for batch in each(source.cover(), "measuring the held-out loss", "batches"):
        targets = batch.targets.to(device)
        losses = token_losses(model(batch.inputs.to(device)).logits, targets)
        measured = KindLosses.measure(losses, targets)
        sums += KindLosses(measured.nats.cpu(), measured.counts.cpu())
    return sums
