"""One repair pass over a response that a detector flagged: a small rule for each maxim.

A rule only takes away, orders or sets punctuation; it invents nothing. What no rule can mend, such
as a reply to another topic or one that says too little, is answered by the next candidate. Whether
a repair is better is for the caller to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from parley.platform.maxims.text.exchange import Exchange
from parley.platform.maxims.text.sentences import find_words, split_sentences

MOST_SENTENCES = 3
"""A turn of small talk; what follows is cut where too much was said."""
SAME_WORDS = 0.7
"""A sentence that shares this part of its words with an earlier one says it again."""
LEAST_WORDS = 4
"""Shorter sentences are repetitions only where all words are the same."""
LONGEST_SENTENCE = 24
"""Words; a longer sentence is split where two clauses meet."""

RESTATING = re.compile(
    r"^(?:in other words|so,? to (?:summari[sz]e|sum up)|to (?:be more precise|put it another way)"
    r"|that is to say|as i (?:said|mentioned)|again)\b",
    re.IGNORECASE,
)
"""How a sentence begins that says the same once more."""
CLAIM = re.compile(
    r"\d|\bper ?cent\b|\b(?:studies|research|experts?|statistics|scientists)\b", re.IGNORECASE
)
"""What a claim that wants a source has in it."""
ANSWER = re.compile(
    r"^(?:yes|yeah|yep|no|nope|sure|oh|wow|i think so|i agree|exactly|true|right)\b", re.IGNORECASE
)
"""How a sentence begins that takes up what the other said: it comes first."""
CLAUSE = re.compile(
    r",?\s+(?:and then|and|but|so|because)\s+(?=(?:i|you|he|she|it|we|they)\b)", re.I
)
"""Where two clauses meet, the second with a subject of its own."""
DOUBLED = re.compile(r"\s*([.!?,;:])(?:\s*[.,;:])+")
"""A mark with further ones behind it; an ellipsis is none (it is set aside first)."""
ELLIPSIS = re.compile(r"\.{3,}")


@dataclass(frozen=True)
class Repair:
    """A repaired response.

    Attributes:
        text: never empty.
        rules: the maxims whose rule changed something, in order; `alternative` where another
            candidate was taken.
    """

    text: str
    rules: tuple[str, ...]


def repair(exchange: Exchange, flagged: Collection[str], others: Sequence[str] = ()) -> Repair:
    """Mend what can be mended.

    Args:
        exchange: the flagged response and what it answers.
        flagged: the maxims that it is said to violate.
        others: further responses to the same prompt, the best first.
    """
    text, rules = exchange.response, []
    for maxim, rule in RULES.items():
        if maxim not in flagged:
            continue
        mended = rule(exchange._replace(response=text))
        if mended and mended != text:
            text = mended
            rules.append(maxim)
    spoken = [other for other in others if other.strip()]
    if not rules and spoken:
        return Repair(spoken[0], ("alternative",))
    return Repair(text, tuple(rules))


def drop_unsupported_claims(exchange: Exchange) -> str:
    """Without the sentences whose claim has no support; all of them where none else is left.

    A claim is supported where its numbers stand in the context or in the evidence.
    """
    known = set(find_words(f"{exchange.context} {exchange.evidence}"))

    def is_supported(sentence: str) -> bool:
        if not CLAIM.search(sentence):
            return True
        numbers = [word for word in find_words(sentence) if word[0].isdigit()]
        return bool(numbers) and all(number in known for number in numbers)

    sentences = split_sentences(exchange.response)
    return " ".join(filter(is_supported, sentences)) or exchange.response


def drop_repetition(exchange: Exchange) -> str:
    """Without sentences that say an earlier one again, and at most three in all."""
    kept: list[str] = []
    for sentence in split_sentences(exchange.response):
        if kept and (RESTATING.match(sentence) or any(_says_again(sentence, k) for k in kept)):
            continue
        kept.append(sentence)
    return " ".join(kept[:MOST_SENTENCES])


def set_in_order(exchange: Exchange) -> str:
    """The answer first, long sentences split, marks single, sentences begun with a capital."""
    dots = "\N{HORIZONTAL ELLIPSIS}"
    text = DOUBLED.sub(r"\1", ELLIPSIS.sub(dots, exchange.response)).replace(dots, "...")
    sentences = [part for whole in split_sentences(text) for part in _split_long(whole)]
    sentences.sort(key=lambda sentence: ANSWER.match(sentence) is None)
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


RULES: dict[str, Callable[[Exchange], str]] = {
    "quality": drop_unsupported_claims,
    "quantity": drop_repetition,
    "manner": set_in_order,
}
"""Maxim -> what mends it, in the order of use; nothing mends a reply beside the point."""


def _says_again(sentence: str, earlier: str) -> bool:
    words = {word.lower() for word in find_words(sentence)}
    known = {word.lower() for word in find_words(earlier)}
    if len(words) < LEAST_WORDS:
        return words == known
    return len(words & known) >= SAME_WORDS * len(words)


def _split_long(sentence: str) -> list[str]:
    """At most one cut, at the meeting of clauses that is nearest to the middle."""
    if len(find_words(sentence)) <= LONGEST_SENTENCE:
        return [sentence]
    meetings = list(CLAUSE.finditer(sentence))
    if not meetings:
        return [sentence]
    cut = min(meetings, key=lambda match: abs(match.start() - len(sentence) / 2))
    return [sentence[: cut.start()].rstrip(",;") + ".", sentence[cut.end() :]]
