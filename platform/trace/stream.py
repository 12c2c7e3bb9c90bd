"""The endless stream of true traces: stateless Ray tasks make blocks ahead of the learner.

A block is a function of the seed and its number, so that nothing depends on how many processes make
them, which of them dies, or where a training is taken up again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch

from parley.platform.engine.next_token.gradient_step import TokenBatch
from parley.platform.records import Metrics
from parley.platform.trace.blocks import BlockRecipe, TraceBatch, make_block
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM

MAX_RETRIES = 3
"""Lost processes that the making of one block survives."""


@dataclass(frozen=True)
class StreamTask:
    """A stream that opens in the training workers."""

    recipe: BlockRecipe
    num_workers: int
    """Blocks that are made at the same time."""
    prefetch_blocks: int
    """Blocks that are asked for ahead of the learner."""

    def open(self, first_step: int, num_ranks: int) -> TraceStream:
        """Ask for the first blocks; every worker has the whole batches made for itself."""
        num_workers = max(1, self.num_workers // num_ranks)
        return TraceStream(self.recipe, first_step, num_workers, self.prefetch_blocks)


class TraceStream:
    """Batches in the order of the gradient steps, for one worker.

    Args:
        recipe: of the blocks.
        first_step: the step of the first batch; blocks before it are not made.
        num_workers: blocks that are made at the same time.
        prefetch_blocks: blocks that are asked for ahead.
    """

    def __init__(
        self, recipe: BlockRecipe, first_step: int, num_workers: int, prefetch_blocks: int
    ) -> None:
        self._num_batches = recipe.num_batches
        self._num_workers = num_workers
        self._prefetch_blocks = prefetch_blocks
        self._recipe: Any = ray.put(recipe)
        # Outside of the placement group of the training workers, whose bundles they fill.
        self._make: Any = ray.remote(make_block).options(
            num_cpus=1, max_retries=MAX_RETRIES, scheduling_strategy="DEFAULT"
        )
        self._next_step = first_step
        self._next_block = first_step // recipe.num_batches
        self._made: deque[Any] = deque()
        """References to the blocks that were asked for, in order."""
        self._unfinished: list[Any] = []
        self._batches: list[TraceBatch] = []
        self._ask_ahead()

    def batch(self, step: int) -> TokenBatch:
        """The batch of gradient step `step`; waits while it is being made.

        Raises:
            ValueError: steps are left out or repeated.
        """
        if step != self._next_step:
            raise ValueError(f"the stream is at step {self._next_step}, asked for {step}")
        place = step % self._num_batches
        if not self._batches or place == 0:
            self._batches = ray.get(self._made.popleft())
        self._ask_ahead()
        self._next_step += 1
        return to_tensors(self._batches[place])

    def measure(self, model: DHMMGPT2ForCausalLM) -> Metrics:
        """Nothing: held-out inputs are the driver's business."""
        return {}

    def _ask_ahead(self) -> None:
        """Keep the processes busy, and no more than these, until enough blocks are on their way."""
        if len(self._made) >= self._prefetch_blocks:
            return
        if self._unfinished:
            waited_for = self._unfinished
            _, self._unfinished = ray.wait(
                waited_for, num_returns=len(waited_for), timeout=0, fetch_local=False
            )
        while len(self._made) < self._prefetch_blocks and len(self._unfinished) < self._num_workers:
            block = self._make.remote(self._recipe, self._next_block)
            self._made.append(block)
            self._unfinished.append(block)
            self._next_block += 1


def to_tensors(batch: TraceBatch) -> TokenBatch:
    """Read the tokens before the last, predict the labels after the first."""
    return TokenBatch(
        torch.from_numpy(batch.tokens[:, :-1].astype(np.int64)),
        torch.from_numpy(batch.labels[:, 1:].astype(np.int64)),
        num_tokens=batch.num_tokens - len(batch.tokens),
    )
