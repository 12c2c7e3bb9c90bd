"""Violations of Grice's maxims, put into clean responses by rules.

Each injector takes an exchange whose response is cooperative and gives a response that is not, or
None where it cannot be applied (a number cannot be contradicted where there is none). It draws all
chance from `rng` and all phrases from `templates`; `pool` holds responses of other conversations.
A new injector is a function and a row in `INJECTORS`. The violations are artificial: a judge that
knows them is not yet a judge of people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Protocol

from parley.platform.maxims.pairs.injector_templates import FIELDS, TRAINING, Templates
from parley.platform.maxims.text.exchange import Exchange
from parley.platform.maxims.text.sentences import (
    FUNCTION_WORDS,
    find_content_words,
    normalise_space,
    split_sentences,
)

NUM_TRIES = 8
"""Replies drawn from the pool in search of one on another topic."""
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_TOKEN = re.compile(r"\d[\d,.]*\d|\w+(?:['\u2019]\w+)*")
_ENDMARK = re.compile(r"\s*[.!?]+$")
_SLOT = re.compile(r"\{(\w+)\}")


class InjectorFunction(Protocol):
    """What every injector is called with."""

    def __call__(
        self, exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates, /
    ) -> str | None: ...


@dataclass(frozen=True)
class Injector:
    """A way to violate maxims."""

    function: InjectorFunction
    maxims: tuple[str, ...]
    """What it violates."""


def inject(
    name: str,
    exchange: Exchange,
    rng: Random,
    pool: Sequence[str],
    templates: Templates = TRAINING,
) -> str | None:
    """The response of `exchange`, violated by the injector of this name.

    Args:
        name: a row of `INJECTORS`.
        exchange: its response is cooperative.
        rng: equal generators give equal responses.
        pool: responses of other conversations; may be empty, then no injector uses it.
        templates: the phrases to choose from.

    Returns:
        The violated response, None where the injector cannot be applied to this one.

    Raises:
        ValueError: there is no such injector.
    """
    if name not in INJECTORS:
        raise ValueError(f"unknown injector {name!r}; known are {', '.join(INJECTORS)}")
    clean = Exchange(exchange.context, exchange.evidence, normalise_space(exchange.response))
    if not clean.response:
        return None
    violated = INJECTORS[name].function(clean, rng, pool, templates)
    if violated is None or _compared(violated) == _compared(clean.response):
        return None
    return normalise_space(violated)


def inject_quantity_under(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """Too little: a phrase that says nothing in place of a response of five words or more."""
    if len(exchange.response.split()) < 5:
        return None
    return _fill(rng.choice(templates.stubs), exchange, rng)


def inject_quantity_over(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """Too much: a sentence said again, summed up at the end, or padded with empty sentences."""
    sentences = split_sentences(exchange.response)
    place = rng.randrange(len(sentences))
    repeated = _lower_first(sentences[place])
    if rng.random() < 0.5:
        repeated = repeated.lower()
    longer = list(sentences)
    shape = rng.choice(("restart", "restart", "both", "closing", "filler", "everything"))
    if shape in ("restart", "both"):
        longer.insert(place + 1, f"{rng.choice(templates.restarts)} {repeated}")
    if shape in ("closing", "both"):
        longer.append(f"{rng.choice(templates.closings)} {_lower_first(sentences[0])}")
    if shape == "filler":
        num = min(len(templates.fillers), rng.choice((1, 2, 2, 3)))
        longer[place + 1 : place + 1] = [
            _fill(filler, exchange, rng) for filler in rng.sample(templates.fillers, num)
        ]
    if shape == "everything":
        longer.append(f"{rng.choice(templates.restarts)} {_lower_first(exchange.response)}")
    return " ".join(longer)


def inject_quality_unsupported(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """A claim without support: a sentence of its own, or the end of one of the sentences."""
    sentences = split_sentences(exchange.response)
    place = rng.randrange(len(sentences))
    if rng.random() < 0.5:
        claim = _fill(rng.choice(templates.claims), exchange, rng)
        sentences.insert(place + 1, claim)
    else:
        clause = _fill(rng.choice(templates.claim_clauses), exchange, rng)
        mark = _ENDMARK.search(sentences[place])
        if rng.random() < 0.5:  # in front of the end mark
            body = sentences[place] if mark is None else sentences[place][: mark.start()]
            sentences[place] = f"{body}{clause}."
        else:
            sentences[place] = f"{sentences[place]}{clause}."
    return " ".join(sentences)


def inject_quality_contradiction(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """A fact turned wrong: a number changed, or else a word replaced by its opposite."""
    numbers = list(_NUMBER.finditer(exchange.response))
    if numbers:
        return _replace(exchange.response, rng.choice(numbers), rng, templates)
    opposites = dict(templates.opposites) | {b: a for a, b in templates.opposites if " " not in b}
    words = list(_TOKEN.finditer(exchange.response))
    found = [word for word in words if word.group().lower() in opposites]
    if not found:
        return None
    word = rng.choice(found)
    return _spliced(exchange.response, word, opposites[word.group().lower()])


def inject_relation_off_topic(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """Off topic: the reply of another conversation, or (one in three) an encyclopedia's fact.

    Of `NUM_TRIES` replies the one is taken that shares the fewest words with the context, first
    come; without a pool it is always a fact.
    """
    if not pool or rng.random() < 1 / 3:
        return rng.choice(templates.facts)
    topic = set(find_content_words(f"{exchange.context} {exchange.response}"))
    drawn = [rng.choice(pool) for _ in range(NUM_TRIES)]
    speaking = [reply for reply in drawn if len(find_content_words(reply)) >= 2]
    if not speaking:
        return None
    return min(speaking, key=lambda reply: len(topic.intersection(find_content_words(reply))))


def inject_relation_drift(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """A vague statement about everything and nothing in place of the response."""
    return _fill(rng.choice(templates.vague), exchange, rng)


def inject_manner_jargon(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """Plain words replaced by stilted ones: all that the table knows, or one of them."""
    jargon = dict(templates.jargon)
    found = [word for word in _TOKEN.finditer(exchange.response) if word.group().lower() in jargon]
    if not found:
        return None
    chosen = found if rng.random() < 0.5 else [rng.choice(found)]
    violated = exchange.response
    for word in reversed(chosen):
        violated = _spliced(violated, word, jargon[word.group().lower()])
    return violated


def inject_manner_shuffled(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """The sentences in another order; a response of two or more."""
    sentences = split_sentences(exchange.response)
    if len(set(sentences)) < 2:
        return None
    shuffled = list(sentences)
    while shuffled == sentences:
        rng.shuffle(shuffled)
    return " ".join(shuffled)


def inject_manner_ambiguous(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """Names and nouns replaced by words that refer to nothing; one to three of them.

    A noun is taken to be a capitalised word inside a sentence, or the word after an article.
    """
    tokens = list(_TOKEN.finditer(exchange.response))
    nouns = [
        token
        for before, token in pairwise(tokens)
        if token.group().lower() not in FUNCTION_WORDS
        and not token.group()[0].isdigit()
        and (
            before.group().lower() in ("a", "an", "the")
            or (token.group()[0].isupper() and exchange.response[token.start() - 2] not in ".!?")
        )
    ]
    if not nouns:
        return None
    chosen = sorted(rng.sample(nouns, min(len(nouns), rng.randint(1, 3))), key=re.Match.start)
    violated = exchange.response
    for noun in reversed(chosen):
        violated = _spliced(violated, noun, rng.choice(templates.pronouns))
    return violated


def inject_manner_runon(
    exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
) -> str | None:
    """Sentences run together without an end; a response of two or more sentences."""
    sentences = split_sentences(exchange.response)
    if len(sentences) < 2:
        return None
    joint = rng.choice(templates.joints)
    bodies = [_ENDMARK.sub("", sentence) for sentence in sentences]
    if joint == " " and rng.random() < 0.5:  # only the marks are lost
        return joint.join(bodies)
    return joint.join([bodies[0], *map(_lower_first, bodies[1:])])


def _chain(*functions: InjectorFunction) -> InjectorFunction:
    """One injector after the other; None where one of them cannot be applied."""

    def inject_all(
        exchange: Exchange, rng: Random, pool: Sequence[str], templates: Templates
    ) -> str | None:
        for function in functions:
            violated = function(exchange, rng, pool, templates)
            if violated is None:
                return None
            exchange = Exchange(exchange.context, exchange.evidence, violated)
        return exchange.response

    return inject_all


INJECTORS: dict[str, Injector] = {
    "quantity_under": Injector(inject_quantity_under, ("quantity",)),
    "quantity_over": Injector(inject_quantity_over, ("quantity",)),
    "quality_unsupported": Injector(inject_quality_unsupported, ("quality",)),
    "quality_contradiction": Injector(inject_quality_contradiction, ("quality",)),
    "relation_off_topic": Injector(inject_relation_off_topic, ("relation",)),
    "relation_drift": Injector(inject_relation_drift, ("relation",)),
    "manner_jargon": Injector(inject_manner_jargon, ("manner",)),
    "manner_shuffled": Injector(inject_manner_shuffled, ("manner",)),
    "manner_ambiguous": Injector(inject_manner_ambiguous, ("manner",)),
    "manner_runon": Injector(inject_manner_runon, ("manner",)),
    "multi_quality_quantity": Injector(
        _chain(inject_quality_unsupported, inject_quantity_over), ("quantity", "quality")
    ),
    "multi_quantity_manner": Injector(
        _chain(inject_manner_ambiguous, inject_quantity_over), ("quantity", "manner")
    ),
}
"""Name -> how it violates, and which maxims."""


def _fill(template: str, exchange: Exchange, rng: Random) -> str:
    """A template with its slots filled; its first letter is a capital unless it is a clause."""
    words = find_content_words(exchange.response) or find_content_words(exchange.context)
    slots: dict[str, Callable[[], str]] = {
        "topic": lambda: rng.choice(words) if words else "this",
        "number": lambda: str(rng.randint(2, 98)),
        "field": lambda: rng.choice(FIELDS),
    }
    chosen: dict[str, str] = {}  # one topic per sentence

    def value(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot not in chosen:
            chosen[slot] = slots[slot]()
        return chosen[slot]

    filled = _SLOT.sub(value, template)
    return filled[0].upper() + filled[1:]


def _replace(response: str, number: re.Match[str], rng: Random, templates: Templates) -> str:
    """The response with another number in the place of `number`: years stay whole numbers."""
    text = number.group()
    value = float(text.replace(",", ""))
    changed = value * rng.choice(templates.factors)
    if "." in text:
        written = f"{changed:.{len(text.partition('.')[2])}f}"
    else:
        whole = round(changed)
        written = f"{whole + (whole == value):,}" if "," in text else str(whole + (whole == value))
    return response[: number.start()] + written + response[number.end() :]


def _spliced(text: str, word: re.Match[str], replacement: str) -> str:
    return text[: word.start()] + replacement + text[word.end() :]


def _lower_first(sentence: str) -> str:
    """The sentence as it goes on after a comma; `I` and names of one letter stay."""
    first = sentence.split(maxsplit=1)[0] if sentence else ""
    if first.rstrip(",") == "I" or first.startswith(("I'", "I\u2019")):
        return sentence
    return sentence[:1].lower() + sentence[1:]


def _compared(text: str) -> str:
    return normalise_space(text).lower()
