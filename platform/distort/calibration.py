"""The levels of surprise between which a reply's reward counts, measured before training.

start     the starting policy's own replies, where they were given
ceiling   what fluent text can earn: the same replies, each after another dialogue's history;
          a high quantile over replies
random    uniformly random tokens of the same lengths, after the same histories

A judge that was hardly trained finds displaced replies as surprising as random tokens. There the
ceiling is lowered to a point between start and random, from which the reward can still fall back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parley.envs.dialogue.reward import SurpriseScale
from parley.envs.dialogue.rules import DialogueSettings
from parley.platform.distort.record import PlayedDialogue, PlayedTurn
from parley.policies.dialogue.speaker import Speaker

Tokens = NDArray[np.int32]

HIGHEST_CEILING = 0.9
"""Of the way from start to random; the slope beyond the ceiling is at most 9 then."""


def measure_scale(
    dialogues: Sequence[PlayedDialogue],
    seats: Sequence[str],
    judge: Speaker,
    settings: DialogueSettings,
    ceiling_quantile: float,
    seed: int,
) -> SurpriseScale:
    """The scale of surprise of a run.

    Args:
        dialogues: of the starting policies.
        seats: the trained ones.
        judge: the model whose surprise is paid.
        settings: the rules.
        ceiling_quantile: over the displaced replies.
        seed: of the displacement and of the random tokens.

    Raises:
        ValueError: fewer than two replies to measure.
    """
    replies = [
        (dialogue.tokens[turn.history_start : turn.start], turn)
        for dialogue in dialogues
        for turn in dialogue.turns_of(seats)
    ]
    if len(replies) < 2:
        raise ValueError(f"{len(replies)} replies of {', '.join(seats)}: at least 2 are needed")
    generator = np.random.default_rng(seed)
    own = np.array([_surprise(turn) for _, turn in replies])
    # A cyclic shift of a random order: every reply lands in another dialogue or at another place.
    order = generator.permutation(len(replies))
    displaced = {
        int(here): replies[there][1] for here, there in zip(order, np.roll(order, 1), strict=True)
    }
    foreign = [(replies[index][0], displaced[index].tokens) for index in range(len(replies))]
    noise = [(history, _random_like(turn, settings, generator)) for history, turn in replies]
    start = float(own.mean())
    random = float(_score(judge, noise, settings).mean())
    fluent = float(np.quantile(_score(judge, foreign, settings), ceiling_quantile))
    highest = start + HIGHEST_CEILING * (random - start) if random > start else fluent
    ceiling = max(start, min(fluent, highest))
    excess = float(np.maximum(own - ceiling, 0.0).mean())
    return SurpriseScale(start, ceiling, random, excess)


def _surprise(turn: PlayedTurn) -> float:
    assert turn.judge_log_probs is not None, "replies of trained seats are judged"
    return -float(turn.judge_log_probs.mean())


def _random_like(
    turn: PlayedTurn, settings: DialogueSettings, generator: np.random.Generator
) -> Tokens:
    """Uniformly random tokens in the place of a reply's; no end token but the last."""
    drawn = generator.integers(settings.vocab_size - 1, size=len(turn.tokens))
    tokens = (drawn + (drawn >= settings.end_token)).astype(np.int32)
    if turn.closed:
        tokens[-1] = settings.end_token
    return tokens


def _score(
    judge: Speaker, pairs: Sequence[tuple[Tokens, Tokens]], settings: DialogueSettings
) -> NDArray[np.float64]:
    """The judge's mean surprise at each reply after its history, nats per token."""
    surprises: list[float] = []
    for first in range(0, len(pairs), judge.num_rows):
        batch = pairs[first : first + judge.num_rows]
        tails = [_closed(reply, settings.end_token) for _, reply in batch]
        texts = [
            np.concatenate([history, tail]) for (history, _), tail in zip(batch, tails, strict=True)
        ]
        judge.forget()
        scores = judge.score(range(len(batch)), texts, [len(tail) for tail in tails])
        surprises += [
            -float(score[: len(reply)].mean())
            for score, (_, reply) in zip(scores, batch, strict=True)
        ]
    return np.array(surprises)


def _closed(reply: Tokens, end_token: int) -> Tokens:
    return reply if reply[-1] == end_token else np.append(reply, np.int32(end_token))
