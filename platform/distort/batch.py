"""From dialogues to the padded rows that learners take: credit of tokens, then columns.

A row is a stretch of one dialogue that a trained seat saw from its beginning to one of its
replies, so that one forward pass gives the logits of all its tokens there. Normally that is the
whole dialogue; where old turns dropped out of the window, a dialogue becomes several rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.envs.dialogue.reward import ReplyReward
from parley.platform.distort.record import PlayedDialogue, PlayedTurn
from parley.platform.engine.rllib.advantages import estimate_advantages, whiten
from parley.platform.engine.rllib.sequence_batch import (
    ACTIONS,
    ADVANTAGES,
    LOG_PROBS,
    VALUE_TARGETS,
    VALUES,
    pad_rows,
)
from parley.policies.rows import POSITIONS, TOKENS, VALID

SUPPORT = "support"
"""Column of the ids that could be drawn, filled up with `NO_TOKEN`."""
NO_TOKEN = -1

Floats = NDArray[np.float32]
Credit = Mapping[str, list[Floats]]
"""`ADVANTAGES`, and `VALUE_TARGETS` where values are learned: for each reply, float32 [n]."""


def credit_by_gae(
    dialogues: Sequence[PlayedDialogue],
    seat: str,
    rewards: Sequence[Sequence[ReplyReward]],
    gamma: float,
    gae_lambda: float,
) -> Credit:
    """Generalised advantages over a seat's own tokens, whitened over all of them.

    What the others say in between belongs to the environment: the state after a reply's last token
    is that of the seat's next reply. Where a dialogue was truncated, the value of its last known
    state stands for that of the one that would have followed.

    Args:
        dialogues: one iteration's.
        seat: whose tokens.
        rewards: of its replies, dialogue by dialogue.
        gamma, gae_lambda: see `estimate_advantages`.
    """
    advantages: list[Floats] = []
    targets: list[Floats] = []
    for dialogue, earned in zip(dialogues, rewards, strict=True):
        turns = dialogue.turns_of([seat])
        if not turns:
            continue
        values = np.concatenate([_values(turn) for turn in turns])
        last = values[-1:] if dialogue.truncated else np.zeros(1, np.float32)
        ended = np.zeros(len(values), np.bool_)
        ended[-1] = True
        estimate = estimate_advantages(
            np.concatenate([reward.tokens for reward in earned]),
            values,
            np.concatenate([values[1:], last]),
            ended & dialogue.terminated,
            ended & dialogue.truncated,
            gamma,
            gae_lambda,
        )
        cuts = np.cumsum([len(turn.tokens) for turn in turns])[:-1]
        advantages += np.split(estimate, cuts)
        targets += np.split(estimate + values, cuts)
    return {ADVANTAGES: _whiten_all(advantages), VALUE_TARGETS: targets}


def credit_by_return(
    dialogues: Sequence[PlayedDialogue], seat: str, rewards: Sequence[Sequence[ReplyReward]]
) -> Credit:
    """What each reply and those after it earned, minus a leave-one-out baseline.

    The baseline of a dialogue's k-th reply is the mean of that return over the k-th replies of all
    other dialogues (Kool et al. 2019): independent of the reply, so that the gradient stays
    unbiased. The only k-th reply has itself for a baseline and teaches nothing.
    """
    returns = [
        np.cumsum([reward.total for reward in earned][::-1], dtype=np.float64)[::-1]
        for earned in rewards
    ]
    longest = max((len(row) for row in returns), default=0)
    sums = [sum(row[k] for row in returns if len(row) > k) for k in range(longest)]
    counts = [sum(len(row) > k for row in returns) for k in range(longest)]
    advantages: list[Floats] = []
    for dialogue, row in zip(dialogues, returns, strict=True):
        for k, turn in enumerate(dialogue.turns_of([seat])):
            others = counts[k] - 1
            baseline = (sums[k] - row[k]) / others if others else row[k]
            advantages.append(np.full(len(turn.tokens), row[k] - baseline, np.float32))
    return {ADVANTAGES: advantages}


def make_rows(
    dialogues: Sequence[PlayedDialogue],
    seat: str,
    credit: Credit,
    order: np.random.Generator,
    beginning: Sequence[int] = (),
) -> dict[str, NDArray[Any]]:
    """The columns [R, ...] of one iteration's batch, its rows in random order.

    Args:
        dialogues: one iteration's.
        seat: whose replies are learned from.
        credit: of its replies.
        order: draws the order of the rows.
        beginning: ids that the model read before each of its histories.

    Returns:
        `TOKENS` int64 [R, T], padded behind; for the seat's own tokens `POSITIONS` int64 [R, A]
        (of the token before), `VALID` bool, `ACTIONS` int64, `LOG_PROBS`, `VALUES` and the columns
        of `credit` float32 [R, A]; `SUPPORT` int32 [R, A, K] where draws were truncated.
    """
    replies = iter(zip(*credit.values(), strict=True))
    rows = []
    for dialogue in dialogues:
        turns = dialogue.turns_of([seat])
        for start, group in groupby(turns, key=lambda turn: turn.history_start):
            seen = list(group)
            parts = [dict(zip(credit, next(replies), strict=True)) for _ in seen]
            rows.append(_make_row(dialogue, seen, parts, start, beginning))
    rows = [rows[index] for index in order.permutation(len(rows))]
    return {
        key: pad_rows([row[key] for row in rows], NO_TOKEN if key == SUPPORT else 0)
        for key in rows[0]
    }


def _make_row(
    dialogue: PlayedDialogue,
    turns: list[PlayedTurn],
    credit: list[dict[str, Floats]],
    start: int,
    beginning: Sequence[int],
) -> dict[str, NDArray[Any]]:
    stop = turns[-1].start + len(turns[-1].tokens)
    positions = np.concatenate(
        [np.arange(turn.start, turn.start + len(turn.tokens)) for turn in turns]
    )
    row: dict[str, NDArray[Any]] = {
        TOKENS: np.array([*beginning, *dialogue.tokens[start:stop]], np.int64),
        POSITIONS: positions - start - 1 + len(beginning),
        VALID: np.ones(len(positions), np.bool_),
        ACTIONS: np.concatenate([turn.tokens for turn in turns]).astype(np.int64),
        LOG_PROBS: np.concatenate([turn.log_probs for turn in turns]),
        VALUES: np.concatenate([_values(turn) for turn in turns]),
    }
    for key in credit[0]:
        row[key] = np.concatenate([part[key] for part in credit])
    supports = [turn.support for turn in turns if turn.support is not None]
    if supports:
        row[SUPPORT] = _stack_supports(supports)
    return row


def _stack_supports(supports: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    width = max(support.shape[1] for support in supports)
    return np.concatenate(
        [
            np.pad(support, ((0, 0), (0, width - support.shape[1])), constant_values=NO_TOKEN)
            for support in supports
        ]
    )


def _whiten_all(parts: list[Floats]) -> list[Floats]:
    cuts = np.cumsum([len(part) for part in parts])[:-1]
    return np.split(whiten(np.concatenate(parts)), cuts)


def _values(turn: PlayedTurn) -> Floats:
    assert turn.values is not None, f"{turn.seat} learns, its speaker has a value head"
    return turn.values
