"""Sentences and words of a response, by plain rules that need no language model."""

from __future__ import annotations

import re

_BREAK = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"')])\s+")
_WORD = re.compile(r"[A-Za-z]+(?:['\u2019][A-Za-z]+)*|\d[\d,.]*\d|\d")
_SPACE = re.compile(r"\s+")

_FUNCTION_WORDS = """
a about actually after again ago all also always am an and any anything are aren't around as at
away back be because been before being both but by came can can't come could couldn't did didn't
do does doesn't doing don't done down each either else ever every everyone everything few first
for from get gets getting give go goes going gonna good got great guess had has have haven't
having he he's hear heard hello her here hers hey hi him his how however i i'd i'll i'm i've if in
indeed interesting into is isn't it it's its just kind knew know last less let like liked likes
little lol lot lots made make makes many may maybe me mean might more most much must my myself
need never new nice no not now of off oh ok okay on once one only onto or other others our out
over own people per perhaps please pretty probably quite rather read really right said same saw
say says see seem seems seen shall she should since so some someone something sometimes still
stuff such sure take tell than thank thanks that that's the their them themselves then there
there's these they they're thing things think this those though thought through time to too took
true try two under until up upon us use used very want wanted was wasn't way we we're well went
were weren't what what's when where which while who whole whom whose why will with without won't
wonder would wouldn't wow yeah year years yep yes yet you you'd you'll you're you've your yours
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English words that say little about the topic."""


def normalise_space(text: str) -> str:
    """The text with every run of white space as one blank, none at the ends."""
    return _SPACE.sub(" ", text).strip()


def split_sentences(text: str) -> list[str]:
    """The sentences in order, each with its end mark and without blanks around it.

    A full stop inside a number or a word, as in `3.5` or `U.S`, ends nothing.
    """
    parts = _BREAK.split(normalise_space(text))
    sentences: list[str] = []
    for part in filter(None, parts):
        if sentences and not any(letter.isalnum() for letter in part):
            sentences[-1] = f"{sentences[-1]} {part}"
        else:
            sentences.append(part)
    return sentences


def find_words(text: str) -> list[str]:
    """Words and numbers in order, as they are written."""
    return _WORD.findall(text)


def find_content_words(text: str) -> list[str]:
    """Words in lower case that may name a topic: no function words, no numbers, three letters."""
    lowered = (word.lower().replace("\u2019", "'") for word in find_words(text))
    return [w for w in lowered if len(w) > 2 and w not in FUNCTION_WORDS and not w[0].isdigit()]
