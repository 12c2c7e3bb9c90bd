"""The rules of a dialogue on arrays of ids: who speaks, what is legal and seen, when it ends.

This is the only place where the rules are written; `aec` and `multi` give them other shapes:
PettingZoo and RLlib. A dialogue is one sequence of token ids, every turn followed by the end token
(DialoGPT's format, Zhang et al. 2020, ACL demonstrations, section 3.1):

    opener END reply END reply END ...

No id is ever decoded to text and encoded again: what a speaker drew is what everyone sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parley.envs.interface import State

Tokens = NDArray[np.int32]
Roles = NDArray[np.int8]
Ids = Sequence[int] | NDArray[np.integer]

OPENER = "opener"
"""The speaker of the first turn, which is the environment's."""
ENVIRONMENT_ROLE = 0
"""Role of the tokens that no seat drew: the opener, and an end token put in at the reply limit."""
MAX_SEATS = int(np.iinfo(np.int8).max)
RESERVED_NAMES = (OPENER, "__all__", "__common__")
"""Not for seats: the first turn's speaker, and the keys that RLlib has put next to agents' ids."""


@dataclass(frozen=True)
class DialogueSettings:
    """What a dialogue is played by.

    Raises:
        ValueError: a value is outside its range; it names the value, the range and the remedy.
    """

    seats: tuple[str, ...]
    """Agent ids in the order of speaking; the first one answers the opener."""
    max_turns: int
    """Replies after the opener; with the last one the dialogue is terminated."""
    max_reply_tokens: int
    """Most ids that a speaker draws for one reply, its end token included."""
    window: int
    """Most tokens of history an agent sees. The reply is not part of it: a model needs room for
    window + max_reply_tokens."""
    end_token: int
    """Follows every turn."""
    vocab_size: int
    """Ids are 0 to vocab_size - 1, the same for all seats."""
    max_dialogue_tokens: int | None = None
    """A budget from outside: the dialogue is truncated after the reply that brings the whole
    history, end tokens included, to so many tokens. None: no budget."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "seats", _checked_seats(self.seats))
        counts = ["max_turns", "max_reply_tokens", "window"]
        if self.max_dialogue_tokens is not None:
            counts.append("max_dialogue_tokens")
        for name in counts:
            _require_integer(name, getattr(self, name), at_least=1)
        _require_integer("vocab_size", self.vocab_size, at_least=2)
        _require_integer("end_token", self.end_token, at_least=0)
        if self.end_token >= self.vocab_size:
            raise ValueError(
                f"end_token must be below vocab_size {self.vocab_size}, got {self.end_token}: "
                "both come from the tokenizer that all seats share"
            )
        if self.max_reply_tokens + 1 > self.window:
            raise ValueError(
                f"window {self.window} cannot hold one reply of max_reply_tokens "
                f"{self.max_reply_tokens} and its end token: set window to at least "
                f"{self.max_reply_tokens + 1}, or max_reply_tokens to at most {self.window - 1}"
            )

    def role(self, seat: str) -> int:
        """Give the role of the tokens that `seat` draws: 1 for the first seat, and so on."""
        return self.seats.index(seat) + 1


@dataclass(frozen=True, eq=False)
class Turn:
    """One utterance, as it was drawn."""

    speaker: str
    """"opener" or the seat."""
    role: int
    """0 for the opener, seat index + 1 for a reply."""
    tokens: Tokens
    """int32[n]: without the end token; empty for the reply that ends the talk. Read-only."""
    closed: bool
    """Whether the speaker drew the end token; the environment put it in otherwise."""


class History(NamedTuple):
    """A stretch of a dialogue that begins with a turn and ends with an end token."""

    tokens: Tokens
    """int32[L]"""
    roles: Roles
    """int8[L]: 0 = nobody's action, seat index + 1 = drawn by that seat."""


class Dialogue:
    """One dialogue, from its opener on.

    Args:
        settings: what it is played by.
        opener: ids of the first turn, without an end token.

    Raises:
        ValueError: the opener is empty, holds an end token or an id outside the vocabulary, does
            not fit the window, or leaves nothing of `max_dialogue_tokens`.
    """

    def __init__(self, settings: DialogueSettings, opener: Ids) -> None:
        self.settings = settings
        tokens = _checked_ids(opener, settings, "the opener", "it must say something")
        if settings.end_token in tokens:
            raise ValueError(
                f"the opener holds the end token {settings.end_token} at position "
                f"{_first(tokens == settings.end_token)}: give it without, it is added"
            )
        _require_opener_fits(len(tokens) + 1, settings)
        self.terminated = False
        """The turn limit is reached, or a seat ended the talk with an empty reply."""
        self.truncated = False
        """`max_dialogue_tokens` is reached; never together with `terminated`."""
        self.num_tokens = 0
        """Length of the whole history."""
        self._turns: list[Turn] = []
        self._pieces: list[History] = []
        self._add(Turn(OPENER, ENVIRONMENT_ROLE, tokens, closed=False))

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The opener and the replies so far."""
        return tuple(self._turns)

    @property
    def num_replies(self) -> int:
        """Turns after the opener."""
        return len(self._turns) - 1

    @property
    def next_seat(self) -> str:
        """The seat to speak next; once the dialogue is over, the one that would have been."""
        return self.settings.seats[self.num_replies % len(self.settings.seats)]

    @property
    def over(self) -> bool:
        """Whether nothing more can be said."""
        return self.terminated or self.truncated

    def say(self, reply: Ids) -> Turn:
        """Add the reply of `next_seat`.

        Args:
            reply: 1 to `max_reply_tokens` ids as drawn. An end token stands last or nowhere: with
                it the reply is closed by its speaker, alone it is the empty reply that ends the
                talk. Without it the environment puts one in.

        Raises:
            ValueError: the dialogue is over, or the reply is not of that form.
        """
        settings, seat = self.settings, self.next_seat
        if self.over:
            raise ValueError(
                f"the dialogue was {'terminated' if self.terminated else 'truncated'} after "
                f"{self.num_replies} replies, {seat!r} cannot speak: begin a new one"
            )
        ids = _checked_ids(
            reply,
            settings,
            f"the reply of {seat!r}",
            f"an empty reply is the end token {settings.end_token} alone",
        )
        if len(ids) > settings.max_reply_tokens:
            raise ValueError(
                f"the reply of {seat!r} has {len(ids)} ids, max_reply_tokens allows "
                f"{settings.max_reply_tokens}"
            )
        if settings.end_token in ids[:-1]:
            raise ValueError(
                f"the reply of {seat!r} goes on after the end token {settings.end_token} at "
                f"position {_first(ids == settings.end_token)}: it must end there"
            )
        closed = bool(ids[-1] == settings.end_token)
        turn = Turn(seat, settings.role(seat), ids[:-1] if closed else ids, closed)
        self._add(turn)
        self.terminated = len(turn.tokens) == 0 or self.num_replies >= settings.max_turns
        budget = settings.max_dialogue_tokens
        self.truncated = not self.terminated and budget is not None and self.num_tokens >= budget
        return turn

    def history(self) -> History:
        """Give what an agent sees: the most recent whole turns that fit the window, L <= window."""
        room, first = self.settings.window, len(self._pieces)
        while first and len(self._pieces[first - 1].tokens) <= room:
            first -= 1
            room -= len(self._pieces[first].tokens)
        return _join(self._pieces[first:])

    def full_history(self) -> History:
        """Give the whole dialogue, whatever the window."""
        return _join(self._pieces)

    def state(self) -> State:
        """Give the dialogue as plain values, for `from_state`: the ids as they were drawn."""
        opener, *replies = self._turns
        end = [self.settings.end_token]
        return {
            "settings": dataclasses.asdict(self.settings),
            "opener": opener.tokens.tolist(),
            "replies": [turn.tokens.tolist() + (end if turn.closed else []) for turn in replies],
        }

    @classmethod
    def from_state(cls, state: State) -> Dialogue:
        """Give the dialogue whose `state` this is.

        Raises:
            ValueError: the state breaks the rules.
        """
        dialogue = cls(DialogueSettings(**state["settings"]), state["opener"])
        for reply in state["replies"]:
            dialogue.say(reply)
        return dialogue

    def _add(self, turn: Turn) -> None:
        tokens = np.append(turn.tokens, np.int32(self.settings.end_token))
        roles = np.full(len(tokens), turn.role, dtype=np.int8)
        if not turn.closed:
            roles[-1] = ENVIRONMENT_ROLE
        self._turns.append(turn)
        self._pieces.append(History(tokens, roles))
        self.num_tokens += len(tokens)


def cut_reply(ids: NDArray[np.integer], end_token: int) -> NDArray[np.integer]:
    """Give `ids` [n] up to and including the first end token; all of them where there is none."""
    ends = np.flatnonzero(ids == end_token)
    return ids[: ends[0] + 1] if ends.size else ids


def _join(pieces: Sequence[History]) -> History:
    return History(
        np.concatenate([piece.tokens for piece in pieces]),
        np.concatenate([piece.roles for piece in pieces]),
    )


def _checked_seats(seats: object) -> tuple[str, ...]:
    names = tuple(seats) if isinstance(seats, tuple | list) else (None,)
    if not all(isinstance(seat, str) and seat for seat in names):
        raise ValueError(f"seats must be a list of non-empty agent ids, got {seats!r}")
    if not 1 <= len(names) <= MAX_SEATS:
        raise ValueError(f"seats must be 1 to {MAX_SEATS} agent ids, got {len(names)}")
    if repeated := sorted({seat for seat in names if names.count(seat) > 1}):
        raise ValueError(f"seats must differ from each other, got {repeated} more than once")
    if reserved := [seat for seat in names if seat in RESERVED_NAMES]:
        raise ValueError(f"seats {reserved} have reserved names: call them something else")
    return names


def _require_integer(name: str, value: object, *, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < at_least:
        raise ValueError(f"{name} must be an integer of at least {at_least}, got {value!r}")


def _checked_ids(ids: Ids, settings: DialogueSettings, what: str, if_empty: str) -> Tokens:
    """Give `ids` as a read-only copy int32[n], n >= 1, all of them in the vocabulary."""
    array = np.array(ids)
    if array.shape == (0,):
        raise ValueError(f"{what} has no ids: {if_empty}")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{what} must be one row of integer ids, got {array.dtype} of shape {array.shape}"
        )
    outside = (array < 0) | (array >= settings.vocab_size)
    if outside.any():
        position = _first(outside)
        raise ValueError(
            f"{what} holds the id {array[position]} at position {position}: the vocabulary has "
            f"0 to {settings.vocab_size - 1}"
        )
    tokens = array.astype(np.int32)
    tokens.setflags(write=False)
    return tokens


def _first(mask: NDArray[np.bool_]) -> int:
    return int(np.flatnonzero(mask)[0])


def _require_opener_fits(num_tokens: int, settings: DialogueSettings) -> None:
    """Refuse an opener that has `num_tokens` with its end token and leaves no room."""
    if num_tokens > settings.window:
        raise ValueError(
            f"opener longer than the window: it has {num_tokens} tokens with its end token, the "
            f"window holds {settings.window}: shorten the opener or set window to at least "
            f"{num_tokens}"
        )
    budget = settings.max_dialogue_tokens
    if budget is not None and num_tokens >= budget:
        raise ValueError(
            f"the opener alone has {num_tokens} tokens with its end token, of max_dialogue_tokens "
            f"{budget}: shorten the opener or raise max_dialogue_tokens"
        )
