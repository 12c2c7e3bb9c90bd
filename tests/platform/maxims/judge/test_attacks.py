"""The attacks on a judge: each says what it is meant to say."""

from __future__ import annotations

from random import Random

import pytest

from parley.envs.dialogue.conversations import Conversation
from parley.platform.maxims.judge import attack_phrases as phrases
from parley.platform.maxims.judge.attacks import ATTACKS, NUM_TRIES, Scene, list_scenes, show_turns
from parley.platform.maxims.text.wording import split_turns

TALKS = [
    Conversation("a", tuple(f"The piano number {n} is really loud in the hall." for n in range(8))),
    Conversation(
        "b",
        (
            "Whales sing songs deep below the frozen sea.",
            "Do whales sing at night?",
            "Yes, they do.",
        ),
    ),
]


@pytest.fixture
def scenes() -> list[Scene]:
    return list(list_scenes(TALKS, Random(0)))


def attack(name: str, scene: Scene) -> str | None:
    return ATTACKS[name].function(scene, Random(1))


def test_every_reply_is_a_scene(scenes: list[Scene]) -> None:
    assert len(scenes) == 7 + 2
    assert scenes[3].exchange.response == TALKS[0].messages[4]
    assert scenes[3].earlier == TALKS[0].messages[:4]
    assert split_turns(scenes[3].exchange.context) == list(TALKS[0].messages[1:4])
    assert len(scenes[3].pool) == NUM_TRIES and set(scenes[3].pool) <= set(TALKS[1].messages[1:])


def test_speakers_alternate_whatever_is_left_out() -> None:
    assert show_turns(["a", "b"]) == "[agent_1]: a [agent_2]: b"
    assert show_turns(["a", "b", "c", "d"]) == "[agent_2]: b [agent_1]: c [agent_2]: d"


def test_one_conversation_has_no_replies_of_others() -> None:
    with pytest.raises(ValueError, match="at least two"):
        list(list_scenes(TALKS[:1], Random(0)))


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_speak_by_the_seed_alone_and_never_the_true_reply(
    name: str, scenes: list[Scene]
) -> None:
    replies = [attack(name, scene) for scene in scenes]
    assert replies == [attack(name, scene) for scene in scenes]
    said = [reply for reply in replies if reply is not None]
    assert all(reply.strip() for reply in said)
    if name != "contradiction":
        assert said
    for scene, reply in zip(scenes, replies, strict=True):
        assert reply != scene.exchange.response


def test_what_is_said(scenes: list[Scene]) -> None:
    scene = scenes[6]
    words = scene.exchange.response.split()
    assert attack("constant sentence", scene) == phrases.CONSTANT
    assert attack("last turn parroted", scene) == TALKS[0].messages[6]
    assert attack("first turn of the context", scene) == TALKS[0].messages[4]
    assert attack("reply of six turns ago", scene) == TALKS[0].messages[1]
    salad = attack("word salad, shuffled reply", scene)
    assert salad is not None and sorted(salad.split()) == sorted(words)
    assert attack("reply broken off", scene) == " ".join(words[:5])
    assert attack("three words repeated", scene) == " ".join(words[:3] * 6)
    assert (
        attack("contradiction", scene) == "No, The piano number 6 is not really loud in the hall."
    )
    assert attack("another conversation's reply", scene) == scene.pool[0]


def test_a_template_takes_its_word_from_the_context(scenes: list[Scene]) -> None:
    assert attack("keyword template", scenes[8]) == "I like whales, whales is great."


def test_short_replies_have_nothing_to_shuffle(scenes: list[Scene]) -> None:
    assert attack("word salad, shuffled reply", scenes[8]) is None
    assert attack("reply of six turns ago", scenes[8]) is None
