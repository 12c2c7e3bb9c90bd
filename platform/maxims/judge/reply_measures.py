"""What can be counted on a reply in its context: echoes, repetitions, length, doubtful claims.

Every measure grows with suspicion. None knows a violation: how much is too much is read off human
replies, see `human_calibration`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from parley.platform.maxims.judge.words import split_words
from parley.platform.maxims.text.sentences import find_content_words, split_sentences

MIN_ECHO_WORDS = 4
"""In shorter replies an echo is polite: `Yes, I do.`"""
MIN_SHARED = 2
"""Content words that two statements must share to be about the same."""
_LETTER = re.compile(r"[^\W\d_]")
_NEGATION = re.compile(
    r"n't\b|\b(?:not|no|never|cannot|none|nobody|nothing|neither|hardly)\b", re.I
)
_CLAIM = re.compile(
    r"\d\s?%|\bper\s?cent\b|\b(?:stud(?:y|ies)|research(?:ers)?|scientists?|experts?|statistic\w*"
    r"|proven?|proved|according|confirmed|documented|evidence|historians?|officially)\b",
    re.I,
)
_OPPOSITES = (
    ("love", "hate"), ("like", "dislike"), ("most", "least"),
    ("more", "less"), ("first", "last"), ("best", "worst"), ("highest", "lowest"),
    ("increase", "decrease"), ("true", "false"), ("before", "after"), ("old", "young"),
)  # fmt: skip


class Surface(NamedTuple):
    """The measures of one reply."""

    echo: float
    """Share of the reply's word triples that stand in the context."""
    repetition: float
    """Share of the reply's word pairs that it has said before."""
    dwelling: float
    """How often its content words come again, per content word."""
    length: float
    """Words."""
    emptiness: float
    """1 without any letter."""
    claims: float
    """Percentages and appeals to studies or experts of which the context and evidence have none."""
    opposition: float
    """Share of content words that stem from a sentence of the context, turned into its opposite."""


def measure_surface(turns: Sequence[str], evidence: str, reply: str) -> Surface:
    """The measures of a reply to these turns."""
    words = [word for word in split_words(reply) if word[0].isalnum()]
    content = find_content_words(reply)
    known = f"{' '.join(turns)} {evidence}"
    return Surface(
        echo=_measure_echo([split_words(turn) for turn in turns], words),
        repetition=_repeated(list(pairwise(words))),
        dwelling=_repeated(content),
        length=float(len(words)),
        emptiness=float(_LETTER.search(reply) is None),
        claims=float(max(0, len(_CLAIM.findall(reply)) - len(_CLAIM.findall(known)))),
        opposition=_measure_opposition(turns, reply),
    )


def _measure_echo(turns: list[list[str]], words: list[str]) -> float:
    if len(words) < MIN_ECHO_WORDS:
        return 0.0
    heard: set[tuple[str, ...]] = set()
    for turn in turns:
        said = [word for word in turn if word[0].isalnum()]
        heard.update(zip(said, said[1:], said[2:], strict=False))
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return sum(triple in heard for triple in triples) / len(triples)


def _repeated(items: Sequence[object]) -> float:
    """Share of items that stand there before; 0 for fewer than three."""
    if len(items) < 3:
        return 0.0
    return 1 - len(Counter(items)) / len(items)


def _measure_opposition(turns: Sequence[str], reply: str) -> float:
    found = 0.0
    statements = [s for turn in turns for s in split_sentences(turn) if not s.endswith("?")]
    for sentence in split_sentences(reply):
        content = set(find_content_words(sentence))
        for statement in statements:
            shared = content & set(find_content_words(statement))
            if len(shared) >= MIN_SHARED and _are_opposed(sentence, statement):
                found = max(found, len(shared) / len(content))
    return found


def _are_opposed(first: str, second: str) -> bool:
    """Whether one sentence denies what the other says, by negations and opposite words."""
    opposed = len(_NEGATION.findall(first)) % 2 != len(_NEGATION.findall(second)) % 2
    one, other = set(split_words(first)), set(split_words(second))
    for left, right in _OPPOSITES:
        opposed ^= (left in one and right in other) or (right in one and left in other)
    return opposed
