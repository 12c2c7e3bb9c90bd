"""What was said in a dialogue and what is known of every token: the currency of rollouts.

    player ── PlayedDialogue ──► rewards, batches, metrics, transcripts

All arrays are per token of one reply, its closing end token included where the speaker drew it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass
class PlayedTurn:
    """One reply of n tokens."""

    seat: str
    history_start: int
    """Where in the whole dialogue the history began that the speaker saw, in tokens."""
    start: int
    """Where in the whole dialogue the reply begins, in tokens."""
    tokens: Tokens
    """int32 [n]."""
    closed: bool
    """Whether the last of them is the end token."""
    log_probs: Floats
    """Of the distribution that the tokens were drawn from, [n]."""
    full_log_probs: Floats
    """Without truncation, at temperature 1, [n]."""
    entropies: Floats
    """Of the distribution drawn from, nats, [n]."""
    values: Floats | None
    """Of the state before each token, [n]; None for a speaker that does not learn."""
    support: Tokens | None
    """int32 [n, K]: the ids that could be drawn, padded with -1; None: all."""
    judge_log_probs: Floats | None = None
    """Under the judge, [n]; for trained seats."""
    start_log_probs: Floats | None = None
    """Under the model that the seat started as, [n]; for trained seats."""
    divergences: Floats | None = None
    """KL(speaker, the model that its seat started as) before each token, [n]: exact, over all
    tokens, whatever could be drawn; for trained seats, where it was asked for."""


@dataclass
class PlayedDialogue:
    """One dialogue from its opener to its end."""

    number: int
    """Its number in the run: which opener and which random streams it used."""
    opener: Tokens
    """Without an end token."""
    tokens: Tokens
    """The whole dialogue, an end token behind every turn."""
    turns: list[PlayedTurn] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    def turns_of(self, seats: Sequence[str]) -> list[PlayedTurn]:
        """The replies of these seats, in order."""
        return [turn for turn in self.turns if turn.seat in seats]

    @property
    def num_tokens_drawn(self) -> int:
        """Tokens that a model drew."""
        return sum(len(turn.tokens) for turn in self.turns)


@dataclass(frozen=True)
class PlayFault:
    """A model gave logits that are not finite; the dialogues up to there."""

    seat: str
    """Whose model it was."""
    turn: int
    """Replies before it, in the dialogue."""
    message: str
    dialogues: list[PlayedDialogue]
    """Those that the fault struck, as far as they got."""
