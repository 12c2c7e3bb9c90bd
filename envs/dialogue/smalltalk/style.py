"""How a speaker writes: capitals, full stops, contractions, slips of the finger.

A style belongs to a speaker and holds for a whole dialogue, so that a reader can learn it from the
first turns. Templates are written in lower case; `tidy` makes clean English of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

_SENTENCE_START = re.compile(r"(^|[.?!] )([a-z])")
_LONE_I = re.compile(r"\bi\b(?!\.)")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU](?!ne\b|nce\b|ni[cfqtv]))")
_SPACES = re.compile(r" {2,}")
_SPACE_BEFORE_MARK = re.compile(r" ([,.?!])")
_SHORT = {
    "I am ": "I'm ",
    "I have ": "I've ",
    "I would ": "I'd ",
    "it is ": "it's ",
    "It is ": "It's ",
    "that is ": "that's ",
    "That is ": "That's ",
    "do not ": "don't ",
    "cannot ": "can't ",
    "you are ": "you're ",
}
_LONG = {"I've": "I have", "I'm": "I am", "don't": "do not", "it's": "it is", "can't": "cannot"}
_CASUAL = {
    "you ": "u ",
    "going to ": "gonna ",
    "want to ": "wanna ",
    "because ": "cause ",
    "yes, ": "yeah, ",
    "Yes, ": "Yep, ",
    "okay": "ok",
}


@dataclass(frozen=True)
class Style:
    """One speaker's habits."""

    lower_case: bool = False
    """Writes no capitals at all."""
    drops_final_stop: bool = False
    """Leaves out the full stop at the end of a message."""
    exclaims: bool = False
    """Ends a message with an exclamation mark where others put a full stop."""
    words: str = "plain"
    """`plain`, `short` (contractions), `long` (none at all) or `casual`."""
    slip_rate: float = 0.0
    """Share of the words with two letters swapped, one doubled or one left out."""

    def apply(self, text: str, random: Random) -> str:
        """A message of this speaker."""
        for before, after in _REPLACEMENTS[self.words].items():
            text = text.replace(before, after)
        if self.slip_rate:
            words = text.split(" ")
            text = " ".join([_slip(w, random, self.slip_rate) for w in words])
        if self.lower_case:
            text = text.lower()
        if text.endswith("."):
            if self.drops_final_stop:
                text = text[:-1]
            elif self.exclaims:
                text = text[:-1] + "!"
        return text


_REPLACEMENTS: dict[str, dict[str, str]] = {
    "plain": {},
    "short": _SHORT,
    "long": _LONG,
    "casual": {**_SHORT, **_CASUAL},
}
_WORD_HABITS = ("plain", "plain", "plain", "short", "short", "long", "casual")


def draw_style(random: Random) -> Style:
    """Most speakers write cleanly; about one in three has a habit or two."""
    return Style(
        lower_case=random.random() < 0.12,
        drops_final_stop=random.random() < 0.2,
        exclaims=random.random() < 0.12,
        words=_WORD_HABITS[int(random.random() * len(_WORD_HABITS))],
        slip_rate=0.03 if random.random() < 0.15 else 0.0,
    )


def tidy(text: str) -> str:
    """Clean English of an expanded template: spaces, articles, capitals."""
    text = _SPACE_BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", text)).strip()
    text = _ARTICLE.sub(r"\1n ", text)
    text = _LONE_I.sub("I", text)
    return _SENTENCE_START.sub(lambda match: match.group(1) + match.group(2).upper(), text)


def _slip(word: str, random: Random, rate: float) -> str:
    if len(word) < 5 or not word.isalpha() or random.random() >= rate:
        return word
    place = 1 + int(random.random() * (len(word) - 3))
    kind = int(random.random() * 3)
    if kind == 0:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == 1:
        return word[:place] + word[place] + word[place:]
    return word[:place] + word[place + 1 :]
