"""Teaches a ranker to tell the reply that was given from replies of other conversations.

A batch is some whole conversations: every turn is read once and stands as reply and as context. The
loss asks three questions of the same scores: which reply belongs to a context, which context to a
reply, and whether a pair belongs together at all, which fixes the zero of the score. The vectors of
whole turns are cheap to compare, so they answer the first two for all replies of the batch, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from parley.platform.maxims.judge.ranker import NUM_LAGS, Ranker, Turns
from parley.platform.maxims.judge.ranker_encoders import TokenStates

COMPARING_SCALE = 12.0
"""Inverse temperature of the cosines of whole turns."""
NO_PAIR = -1e4
"""The score of a pair that is left out."""


@dataclass(frozen=True)
class RankerSettings:
    """How a ranker learns."""

    num_epochs: int = 3
    num_rankers: int = 2
    """Their mean score is the score; each starts from, and is shown, another order of chance."""
    conversations_per_batch: int = 12
    num_negatives: int = 6
    """Replies of other conversations for every context."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 20
    dropout: float = 0.1
    token_width: int = 64


class Batch(NamedTuple):
    """N turns of some conversations, and the C of them that answer something."""

    turns: NDArray[np.int64]
    """[N]: which turns of the corpus."""
    conversations: NDArray[np.int64]
    """[C]: whose reply it is."""
    replies: Tensor
    """[C]: places in `turns`; all but the first turn of each conversation."""
    lags: Tensor
    """[C, NUM_LAGS]: places of the turns before it, 0 where there is none."""
    present: Tensor
    """[C, NUM_LAGS]: 1 where there is a turn."""


def train_ranker(
    states: TokenStates,
    firsts: NDArray[np.int64],
    settings: RankerSettings,
    seed: int,
    report: Callable[[float, float], None] | None = None,
) -> Ranker:
    """A ranker of the conversations whose turns `states` holds in order.

    Args:
        states: the token vectors of all turns.
        firsts: int64 [conversations + 1], where each conversation's turns begin.
        settings: how it learns.
        seed: of its first weights, of the batches and of the negatives.
        report: is told the loss and the share of the work that is done.

    Raises:
        ValueError: there are fewer than two conversations.
    """
    if len(firsts) < 3:
        raise ValueError("one conversation has no replies of others; give at least two")
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width = states.states.shape[1]
        ranker = Ranker(width, settings.token_width, settings.dropout).train()
        optimiser = torch.optim.AdamW(
            ranker.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        num_talks = len(firsts) - 1
        size = min(settings.conversations_per_batch, num_talks)
        num_steps = settings.num_epochs * (num_talks // size)
        batches = _draw_batches(num_talks, size, settings.num_epochs, rng)
        for step, conversations in enumerate(batches):
            rate = settings.learning_rate * _rate(step, num_steps, settings.warmup_steps)
            for group in optimiser.param_groups:
                group["lr"] = rate
            batch = make_batch(conversations, firsts)
            loss = compute_loss(ranker, states, batch, settings.num_negatives, rng)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(ranker.parameters(), 1.0)
            optimiser.step()
            if report is not None:
                report(loss.item(), (step + 1) / num_steps)
    return ranker.eval()


def _draw_batches(
    num_conversations: int, size: int, num_epochs: int, rng: np.random.Generator
) -> Iterator[list[int]]:
    """The conversations of every batch; what does not fill one is left out of its epoch."""
    for _ in range(num_epochs):
        order = rng.permutation(num_conversations).tolist()
        for start in range(0, num_conversations - size + 1, size):
            yield order[start : start + size]


def make_batch(conversations: Sequence[int], firsts: NDArray[np.int64]) -> Batch:
    """The turns of some conversations, and who answers whom."""
    turns: list[int] = []
    owners: list[int] = []
    replies: list[int] = []
    lags: list[list[int]] = []
    for talk in conversations:
        base = len(turns)
        length = int(firsts[talk + 1] - firsts[talk])
        turns += range(int(firsts[talk]), int(firsts[talk + 1]))
        for place in range(1, length):
            owners.append(talk)
            replies.append(base + place)
            shown = [base + place - lag if lag <= place else -1 for lag in range(1, NUM_LAGS + 1)]
            lags.append(shown)
    table = torch.tensor(lags)
    return Batch(
        np.array(turns),
        np.array(owners),
        torch.tensor(replies),
        table.clamp_min(0),
        (table >= 0).float(),
    )


def compute_loss(
    ranker: Ranker,
    states: TokenStates,
    batch: Batch,
    num_negatives: int,
    rng: np.random.Generator,
) -> Tensor:
    """Nats of the true reply among others, of the true context, and of true against not."""
    turns = ranker.read(*states.pad(batch.turns.tolist()))
    num = len(batch.replies)
    drawn = np.stack([rng.permutation(num) for _ in range(num_negatives)])  # [K, C]
    foreign = torch.from_numpy(batch.conversations[drawn] != batch.conversations)
    others = torch.from_numpy(drawn)
    own = torch.arange(num)
    pairs = (own.repeat(num_negatives + 1), torch.cat([own, others.reshape(-1)]))
    scores = ranker(turns, batch.lags, batch.present, turns[batch.replies], pairs)
    true, false = scores[:num], scores[num:].view(num_negatives, num)
    masked = false.masked_fill(~foreign, NO_PAIR)
    # Row k of `others` is a permutation: its inverse says whose context each reply was tried on.
    by_reply = torch.gather(masked, 1, others.argsort(1))
    ranking = _choose_first(true, masked) + _choose_first(true, by_reply)
    belonging = 2 * (F.softplus(-true).mean() + F.softplus(false[foreign]).mean())
    return ranking + belonging + _compare_all(ranker, turns, batch) / 2


def _compare_all(ranker: Ranker, turns: Turns, batch: Batch) -> Tensor:
    """Nats of choosing among all replies, and all contexts, of the batch by whole turns alone."""
    wanted = ranker.summarise(turns, batch.lags, batch.present)[:, -1]
    offered = F.normalize(ranker.reply_map(turns.pooled[batch.replies]), dim=-1)
    owners = torch.from_numpy(batch.conversations)
    own = torch.arange(len(owners))
    same = (owners[:, None] == owners) & (own[:, None] != own)
    scores = (COMPARING_SCALE * wanted @ offered.T).masked_fill(same, NO_PAIR)
    return F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)


def _choose_first(true: Tensor, false: Tensor) -> Tensor:
    """Nats of choosing the true one [C] before the false ones [K, C]."""
    return (torch.logsumexp(torch.cat([true[None], false]), 0) - true).mean()


def _rate(step: int, num_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then half a cosine down to 2 %."""
    warmup = min(1.0, (step + 1) / max(1, warmup_steps))
    return warmup * (0.02 + 0.49 * (1 + math.cos(math.pi * step / num_steps)))
