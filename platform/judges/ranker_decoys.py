"""Replies that have the context's words and nothing to say about it, for the ranker to see through.

A decoy is a reply of another conversation whose content words are replaced by words of the context.
Without decoys a ranker takes a word in common for an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parley.platform.judges.ranker_encoders import TokenStates
from parley.platform.preferences.sentences import find_content_words

NUM_READ = 2
"""Turns of the context that a decoy takes its words from."""
MAX_WORDS = 20
"""Of the reply that a decoy is made from; longer ones become word salad."""
NUM_TRIES = 8
_WORD = re.compile(r"[A-Za-z]+(?:['\u2019][A-Za-z]+)*")


class Decoys(NamedTuple):
    """Decoys for some of N turns."""

    states: TokenStates
    """Of the decoys."""
    places: NDArray[np.int64]
    """[N]: which decoy stands in for a turn; -1 where there is none."""


def make_decoys(
    conversations: Sequence[Sequence[str]], share: float, seed: int
) -> tuple[list[str], NDArray[np.int64]]:
    """Decoys for about `share` of all replies, and for every turn in order its decoy or -1."""
    rng = Random(seed)
    decoys: list[str] = []
    places: list[int] = []
    for number, talk in enumerate(conversations):
        for place in range(len(talk)):
            decoy = None
            if place and rng.random() < share:
                decoy = _make_decoy(
                    talk[max(0, place - NUM_READ) : place], conversations, number, rng
                )
            places.append(-1 if decoy is None else len(decoys))
            if decoy is not None:
                decoys.append(decoy)
    return decoys, np.array(places, np.int64)


def _make_decoy(
    shown: Sequence[str], conversations: Sequence[Sequence[str]], number: int, rng: Random
) -> str | None:
    words = find_content_words(" ".join(shown))
    if not words:
        return None
    for _ in range(NUM_TRIES):
        other = rng.randrange(len(conversations))
        reply = rng.choice(conversations[other])
        if other != number and len(reply.split()) <= MAX_WORDS and find_content_words(reply):
            return fill_in(reply, words, rng)
    return None


def fill_in(reply: str, words: Sequence[str], rng: Random) -> str:
    """The reply with its content words replaced, equal words by equal ones."""
    chosen: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        word = match.group()
        if not find_content_words(word):
            return word
        return chosen.setdefault(word.lower(), rng.choice(words))

    return _WORD.sub(replace, reply)
