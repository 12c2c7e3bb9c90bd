"""Injected violations: what each rule does to a response, and that phrases stay apart."""

from __future__ import annotations

from dataclasses import fields
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.platform.maxims.pairs.injector_templates import TRAINING, UNSEEN, Templates
from parley.platform.maxims.pairs.injectors import INJECTORS, inject
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.maxims.text.sentences import (
    find_content_words,
    normalise_space,
    split_sentences,
)

SAID = Exchange(
    "[agent_1]: I went to the harbour in 1998 with my dog.",
    "FS1",
    "Really? The harbour of Lisbon is good. I have been there 3 times, and the boats are great.",
)
POOL = ["My sister bakes rye bread every Saturday.", "Snow fell on the village all night long."]
NAMES = sorted(INJECTORS)


@pytest.mark.parametrize("templates", [TRAINING, UNSEEN, TRAINING.part(2, 5)])
@pytest.mark.parametrize("name", NAMES)
def test_every_injector_changes_a_rich_response(name: str, templates: Templates) -> None:
    tries = [inject(name, SAID, Random(seed), POOL, templates) for seed in range(40)]
    violated = [text for text in tries if text is not None]
    assert violated
    for text in violated:
        assert text.lower() != SAID.response.lower()
        assert text == normalise_space(text)
        assert "{" not in text


@pytest.mark.parametrize("name", NAMES)
def test_equal_generators_inject_equally(name: str) -> None:
    texts = [[inject(name, SAID, Random(seed), POOL) for seed in range(5)] for _ in range(2)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", NAMES)
@given(response=st.text(max_size=80), context=st.text(max_size=40), seed=st.integers(0, 1_000))
def test_no_text_breaks_an_injector(name: str, response: str, context: str, seed: int) -> None:
    violated = inject(name, Exchange(context, "", response), Random(seed), [])
    assert violated is None or violated.strip()


def test_every_maxim_has_injectors_and_no_other_is_named() -> None:
    named = {maxim for injector in INJECTORS.values() for maxim in injector.maxims}
    assert named == set(MAXIMS)


def test_phrases_of_training_and_test_are_disjoint() -> None:
    for field in fields(Templates):
        shared = set(getattr(TRAINING, field.name)) & set(getattr(UNSEEN, field.name))
        assert not shared, field.name


def test_parts_of_the_templates_share_nothing_and_lose_nothing() -> None:
    parts = [TRAINING.part(index, 5) for index in range(5)]
    for field in fields(Templates):
        phrases = [phrase for part in parts for phrase in getattr(part, field.name)]
        assert sorted(phrases) == sorted(getattr(TRAINING, field.name)), field.name
        assert all(getattr(part, field.name) for part in parts), field.name


def test_more_parts_than_phrases_are_refused() -> None:
    with pytest.raises(ValueError, match="phrases, the fewest"):
        TRAINING.part(0, 6)


def test_an_unknown_injector_is_named() -> None:
    with pytest.raises(ValueError, match="quantity_sideways"):
        inject("quantity_sideways", SAID, Random(0), [])


def test_too_little_needs_something_to_leave_out() -> None:
    assert inject("quantity_under", SAID._replace(response="Yes, I do."), Random(0), []) is None
    short = inject("quantity_under", SAID, Random(0), [])
    assert short is not None
    assert len(short.split()) < len(SAID.response.split())


def test_too_much_keeps_what_was_said() -> None:
    for seed in range(20):
        longer = inject("quantity_over", SAID, Random(seed), [])
        assert longer is not None
        assert len(longer) > len(SAID.response)
        assert "boats are great" in longer.lower()


def test_a_contradicted_number_is_another_number() -> None:
    said = SAID._replace(response="It was built in 1,500 days.")
    for seed in range(20):
        violated = inject("quality_contradiction", said, Random(seed), [])
        assert violated is not None
        assert violated.startswith("It was built in ")
        assert "1,500" not in violated


def test_a_word_is_contradicted_where_there_is_no_number() -> None:
    said = SAID._replace(response="He always swims.")
    assert inject("quality_contradiction", said, Random(0), []) == "He never swims."
    assert inject("quality_contradiction", SAID._replace(response="Hi!"), Random(0), []) is None


def test_shuffling_keeps_the_sentences() -> None:
    for seed in range(10):
        violated = inject("manner_shuffled", SAID, Random(seed), [])
        assert violated is not None
        assert sorted(split_sentences(violated)) == sorted(split_sentences(SAID.response))
        assert violated != SAID.response
    assert inject("manner_shuffled", SAID._replace(response="One only."), Random(0), []) is None


def test_run_on_sentences_lose_their_ends() -> None:
    for seed in range(10):
        violated = inject("manner_runon", SAID, Random(seed), [])
        assert violated is not None
        assert len(split_sentences(violated)) == 1


def test_off_topic_replies_come_from_the_pool_or_from_the_facts() -> None:
    replies = {inject("relation_off_topic", SAID, Random(seed), POOL) for seed in range(60)}
    assert replies & set(POOL)
    assert replies <= set(POOL) | set(TRAINING.facts)
    alone = {inject("relation_off_topic", SAID, Random(seed), []) for seed in range(20)}
    assert alone <= set(TRAINING.facts)


def test_jargon_and_pronouns_replace_words() -> None:
    jargon = dict(TRAINING.jargon)
    said = SAID._replace(response="A good book.")
    stilted = {inject("manner_jargon", said, Random(seed), []) for seed in range(20)}
    assert f"A {jargon['good']} {jargon['book']}." in stilted
    for seed in range(10):
        vague = inject("manner_ambiguous", SAID, Random(seed), [])
        assert vague is not None
        assert len(find_content_words(vague)) < len(find_content_words(SAID.response))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hi! I paid 3.5 euros. Ok?", ["Hi!", "I paid 3.5 euros.", "Ok?"]),
        ("no end", ["no end"]),
        ("What?! Really... yes ;)", ["What?!", "Really...", "yes ;)"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("", []),
        ("a\n\n b", ["a b"]),
        ("Fine. :) Bye.", ["Fine.", ":) Bye."]),
    ],
)
def test_sentences_end_where_people_end_them(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences
