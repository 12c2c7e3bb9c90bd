"""The batches of a DPO run in the shape that transformers' loop takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from parley.platform.cooperate.dpo.batches import pack_pairs, plan_steps
from parley.platform.cooperate.dpo.token_pairs import CHOSEN, REJECTED, TokenPairs
from parley.platform.cooperate.settings import DPOSection
from parley.platform.errors import InputError
from parley.platform.records import Batch


class PairLoader:
    """The batches of all gradient steps from one on; what transformers takes for a data loader."""

    def __init__(
        self, pairs: TokenPairs, dpo: DPOSection, seed: int, first_step: int, shared: bool
    ) -> None:
        self.pairs = pairs
        self.dpo = dpo
        self.seed = seed
        self.first_step = first_step
        self.shared = shared

    def __len__(self) -> int:
        return num_gradient_steps(self.pairs, self.dpo) - self.first_step

    def __iter__(self) -> Iterator[Batch]:
        per_epoch = num_gradient_steps(self.pairs, self.dpo) // self.dpo.num_epochs
        for epoch in range(self.first_step // per_epoch, self.dpo.num_epochs):
            plan = plan_steps(self.pairs, self.dpo.batch_size, self.seed, epoch)
            for chosen in plan[max(0, self.first_step - epoch * per_epoch) :]:
                yield {"parts": self._parts(chosen)}

    def _parts(self, chosen: NDArray[np.int64]) -> list[Batch]:
        """The batches that are computed one after the other for a gradient step."""
        size = self.dpo.device_batch_size or len(chosen)
        cuts = [chosen[first : first + size] for first in range(0, len(chosen), size)]
        return [
            {"share": len(cut) / len(chosen), **collate(self.pairs, cut, self.shared)}
            for cut in cuts
        ]


def num_gradient_steps(pairs: TokenPairs, dpo: DPOSection) -> int:
    """Gradient steps of a run."""
    return -(-len(pairs) // dpo.batch_size) * dpo.num_epochs


def check_warmup(pairs: TokenPairs, dpo: DPOSection) -> None:
    """Refuse a warm-up that outlasts the run.

    Raises:
        InputError: the learning rate would never reach its peak.
    """
    total = num_gradient_steps(pairs, dpo)
    if dpo.warmup_steps >= total:
        raise InputError(
            f"dpo.warmup_steps = {dpo.warmup_steps}, but {len(pairs)} pairs make {total} gradient "
            f"steps: the learning rate would never reach its peak. Set dpo.warmup_steps to at "
            f"most {total // 2}, or raise dpo.num_epochs"
        )


def collate(pairs: TokenPairs, chosen: NDArray[np.int64], shared: bool) -> Batch:
    """The packed rows of B pairs, and next to them what TRL's loss reads: responses alone.

    TRL gets `input_ids`, `attention_mask`, `completion_mask` int64 [2B, 1 + C], where a first
    column stands for all prompts, and the reference's log-probabilities float32 [B].
    """
    packed = pack_pairs(pairs, chosen, shared)
    ended = packed.places == len(packed.targets)
    tokens = torch.cat([packed.targets, packed.targets.new_full((1,), pairs.end_token)])
    prompts = packed.targets.new_zeros(len(ended), 1)
    mask = torch.cat([prompts, (~ended).long()], 1)
    assert pairs.reference is not None
    reference = torch.from_numpy(pairs.reference[chosen]).float()
    return {
        "packed": vars(packed),
        "trl": {
            "input_ids": torch.cat([prompts, tokens[packed.places]], 1),
            "attention_mask": mask,
            "completion_mask": mask,
            "ref_chosen_logps": reference[:, CHOSEN],
            "ref_rejected_logps": reference[:, REJECTED],
        },
    }
