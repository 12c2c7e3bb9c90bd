"""From dialogues to the stretches that get credit, and to the padded rows that learners take.

A row is a stretch of one dialogue that a trained seat saw from its beginning to one of its
replies, so that one forward pass gives the logits of all its tokens there. Normally that is the
whole dialogue; where old turns dropped out of the window, a dialogue becomes several rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.envs.dialogue.reward import ReplyReward
from parley.platform.distort.record import PlayedDialogue, PlayedTurn
from parley.platform.engine.rllib.gradients.policy_gradient import (
    ACTIONS,
    LOG_PROBS,
    VALUES,
    Credit,
    Floats,
    Stretch,
)
from parley.platform.engine.rllib.sequence_batch import pad_rows
from parley.policies.rows import POSITIONS, TOKENS, VALID

SUPPORT = "support"
"""Column of the ids that could be drawn, filled up with `NO_TOKEN`."""
NO_TOKEN = -1


def stretches_of(
    dialogues: Sequence[PlayedDialogue], seat: str, rewards: Sequence[Sequence[ReplyReward]]
) -> list[Stretch]:
    """A seat's replies; each dialogue is an episode, and those with one opener began alike.

    What the others say in between belongs to the environment. Where a dialogue was truncated, the
    value of its last known state stands for that of the one that would have followed.

    Args:
        dialogues: one iteration's.
        seat: whose replies.
        rewards: of its replies, dialogue by dialogue.
    """
    stretches = []
    for dialogue, earned in zip(dialogues, rewards, strict=True):
        turns = dialogue.turns_of([seat])
        values = [_values(turn) for turn in turns]
        following = [float(after[0]) for after in values[1:]]
        following += [float(values[-1][-1]) if dialogue.truncated else 0.0] if turns else []
        for place, reward in enumerate(earned):
            stretches.append(
                Stretch(
                    episode=dialogue.number,
                    place=place,
                    group=dialogue.opener.tobytes(),
                    role=seat,
                    rewards=reward.tokens,
                    total=reward.total,
                    values=values[place],
                    next_value=following[place],
                )
            )
    return stretches


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


def _values(turn: PlayedTurn) -> Floats:
    assert turn.values is not None, f"{turn.seat} learns, its speaker has a value head"
    return turn.values
