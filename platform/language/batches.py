"""Batches of windows of similar length, as a stream that can be left and taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from parley.envs.labels import IGNORED_LABEL
from parley.platform.language.dialogue_tokens import TokenDialogues, Window, training_windows

LENGTH_JITTER = 0.2
"""Windows are sorted by their length times 1 to 1.2: batches mix lengths, padding stays small."""


@dataclass(frozen=True)
class Batch:
    """B windows right-padded to T + 1 tokens: what to read and what to predict."""

    inputs: Tensor
    """int64 [B, T]: padded with the end-of-text token, harmless to a causal model."""
    targets: Tensor
    """int64 [B, T]: the token after each input; `IGNORED_LABEL` on padding and on context."""

    @property
    def num_targets(self) -> int:
        """Tokens to predict."""
        return int((self.targets != IGNORED_LABEL).sum())

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        return Batch(self.inputs.to(device), self.targets.to(device))


def make_batch(dialogues: TokenDialogues, windows: Sequence[Window]) -> Batch:
    """The batch of some windows."""
    width = max(window.length for window in windows)
    tokens = np.full((len(windows), width), dialogues.end_token, np.int64)
    targets = np.full((len(windows), width), IGNORED_LABEL, np.int64)
    for row, window in enumerate(windows):
        cut = dialogues.tokens[window.start : window.stop]
        tokens[row, : len(cut)] = cut
        known = window.first_target - window.start
        targets[row, known : len(cut)] = cut[known:]
    return Batch(torch.from_numpy(tokens[:, :-1]), torch.from_numpy(targets[:, 1:]))


def plan_batches(
    lengths: NDArray[np.int64], batch_tokens: int, random: np.random.Generator | None = None
) -> list[NDArray[np.int64]]:
    """Which windows stand together: as many as fit `batch_tokens`, padding included; at least one.

    Args:
        lengths: int64 [W], tokens of each window.
        batch_tokens: most tokens of a batch.
        random: shuffles; without it the batches come by length.

    Returns:
        For each batch the indices of its windows, int64 [B]; every window is in one.
    """
    keys = lengths.astype(np.float64)
    if random is not None:
        keys = keys * (1.0 + LENGTH_JITTER * random.random(len(lengths)))
    plan: list[NDArray[np.int64]] = []
    order = np.argsort(keys, kind="stable")
    first, widest = 0, 0
    for place, index in enumerate(order):
        widest = max(widest, int(lengths[index]))
        if place > first and (place - first + 1) * widest > batch_tokens:
            plan.append(order[first:place])
            first, widest = place, int(lengths[index])
    plan.append(order[first:])
    if random is not None:
        return [plan[index] for index in random.permutation(len(plan))]
    return plan


class BatchStream:
    """Training batches without end, pass after pass over the dialogues.

    A pass is a function of (seed, number of the pass): a stream that is put to (`epoch`, `place`)
    goes on as the one that came there.

    Args:
        dialogues: what to learn.
        context: most tokens of a window.
        batch_tokens: most tokens of a batch, padding included.
        seed: of cuts and order.
    """

    def __init__(
        self, dialogues: TokenDialogues, context: int, batch_tokens: int, seed: int
    ) -> None:
        self.dialogues = dialogues
        self.context = context
        self.batch_tokens = batch_tokens
        self.seed = seed
        self.seek(0, 0)

    def seek(self, epoch: int, place: int) -> None:
        """Go to batch `place` of pass `epoch`."""
        random = np.random.default_rng([self.seed, epoch])
        self._windows = training_windows(self.dialogues, self.context, random)
        if not self._windows:
            raise ValueError("nothing to learn: no dialogue has two tokens")
        lengths = np.array([window.length for window in self._windows], np.int64)
        self._plan = plan_batches(lengths, self.batch_tokens, random)
        self.epoch, self.place = epoch, place

    def draw(self) -> Batch:
        """The next batch."""
        if self.place == len(self._plan):
            self.seek(self.epoch + 1, 0)
        chosen = self._plan[self.place]
        self.place += 1
        return make_batch(self.dialogues, [self._windows[index] for index in chosen])
