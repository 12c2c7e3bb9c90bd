"""When two texts count as the same, and the turns that a context is made of."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

from parley.envs.dialogue.spelt_ends import strip_spelt_ends
from parley.platform.maxims.text.sentences import normalise_space

MIN_UTTERANCE_WORDS = 6
"""Shorter utterances (`Hi, how are you?`) are said in many conversations and tell none apart."""

SPEAKER = re.compile(r"\[[^\[\]]{1,40}\]:")
"""What opens a turn of a context: `[agent_1]:`."""


def clean_response(text: str) -> str:
    """A response, squeezed and without end tokens that are spelt at its end."""
    return normalise_space(strip_spelt_ends(text))


def clean_context(text: str) -> str:
    """A context, squeezed and without end tokens that are spelt at the ends of its turns."""
    starts = [0, *(tag.start() for tag in SPEAKER.finditer(text)), len(text)]
    turns = (strip_spelt_ends(text[start:stop]) for start, stop in pairwise(starts))
    return normalise_space(" ".join(turns))


@lru_cache(maxsize=1 << 16)
def likeness(text: str) -> str:
    """What identical utterances have in common: the text without its case and white space.

    Turns come again in every window that they stand in, hence the cache.
    """
    return normalise_space(text).casefold()


def is_long(text: str) -> bool:
    """Whether `text` is long enough to tell a conversation from others."""
    return len(text.split()) >= MIN_UTTERANCE_WORDS


def split_turns(context: str) -> list[str]:
    """The turns of a context, without speakers and without empty turns."""
    turns = (normalise_space(turn) for turn in SPEAKER.split(context))
    return [turn for turn in turns if turn]
