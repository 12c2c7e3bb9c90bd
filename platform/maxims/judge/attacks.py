"""Replies that only look like an answer: what a judge must not call cooperative.

An attack takes a scene, a real reply where it was said, and gives the reply that a lazy or
dishonest speaker would say instead. Nothing in the judge learns from these functions or their
sentences: they are the examination. A new attack is a function and a row in `ATTACKS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from parley.envs.dialogue.conversations import Conversation
from parley.platform.maxims.judge import attack_phrases as phrases
from parley.platform.maxims.text.exchange import Exchange
from parley.platform.maxims.text.sentences import find_content_words, split_sentences

NUM_CONTEXT_TURNS = 3
"""Turns that a prompt shows before the reply."""
STALE_TURNS = 6
"""How long ago a stale reply was said."""
MIN_WORDS = 6
"""Of replies that are cut or shuffled: in shorter ones there is nothing to see."""
NUM_TRIES = 20
"""Replies of other conversations in which the nearest one is looked for, per kept reply."""


class Scene(NamedTuple):
    """A human reply in its place."""

    exchange: Exchange
    """The response is the human one."""
    earlier: tuple[str, ...]
    """All turns before the reply, oldest first, also those that the context leaves out."""
    pool: Sequence[str]
    """Replies of other conversations."""


AttackFunction = Callable[[Scene, Random], str | None]
"""The reply, or None where the attack cannot be made."""


@dataclass(frozen=True)
class Attack:
    """A way to fool a judge."""

    function: AttackFunction
    limit: float | None
    """The largest share that a good judge may call cooperative; None: reported only."""


def list_scenes(conversations: Sequence[Conversation], rng: Random) -> Iterator[Scene]:
    """Every reply of the conversations, each with a pool of replies of the others.

    Raises:
        ValueError: there are fewer than two conversations.
    """
    origins = {talk.origin for talk in conversations}
    if len(origins) < 2:
        raise ValueError(
            f"{len(origins)} conversations hold no reply of another one; give at least two"
        )
    for talk in conversations:
        others = [other for other in conversations if other.origin != talk.origin]
        for place in range(1, len(talk.messages)):
            earlier = talk.messages[:place]
            pool = [rng.choice(rng.choice(others).messages[1:]) for _ in range(NUM_TRIES)]
            exchange = Exchange(show_turns(earlier), "", talk.messages[place])
            yield Scene(exchange, earlier, pool)


def show_turns(turns: Sequence[str], num_shown: int = NUM_CONTEXT_TURNS) -> str:
    """The last turns as a context, `[agent_1]: Hello! [agent_2]: Hi!`, by alternating speakers."""
    first = max(0, len(turns) - num_shown)
    return " ".join(f"[agent_{(first + i) % 2 + 1}]: {t}" for i, t in enumerate(turns[first:]))


def say_constant(scene: Scene, rng: Random) -> str | None:
    """One friendly sentence to everything."""
    return phrases.CONSTANT


def agree(scene: Scene, rng: Random) -> str | None:
    """An agreement that fits everything, now this and now that one."""
    return rng.choice(phrases.AGREEMENTS)


def parrot(scene: Scene, rng: Random) -> str | None:
    """The last turn once more."""
    return scene.earlier[-1]


def parrot_politely(scene: Scene, rng: Random) -> str | None:
    """The last turn once more behind an agreeing word."""
    return f"{rng.choice(phrases.OPENINGS)} {scene.earlier[-1]}"


def parrot_first(scene: Scene, rng: Random) -> str | None:
    """The first turn of the context once more."""
    shown = scene.earlier[-NUM_CONTEXT_TURNS:]
    return shown[0] if len(shown) > 1 else None


def parrot_stitched(scene: Scene, rng: Random) -> str | None:
    """The first half of one turn of the context with the second half of another."""
    if len(scene.earlier) < 2:
        return None
    first, second = (turn.split() for turn in scene.earlier[-2:])
    if min(len(first), len(second)) < MIN_WORDS:
        return None
    return " ".join(first[: len(first) // 2] + second[len(second) // 2 :])


def fill_template(scene: Scene, rng: Random) -> str | None:
    """`I like X, X is great.` with X from the last turns."""
    word = _find_keyword(scene, rng)
    return word and f"I like {word}, {word} is great."


def fill_templates(scene: Scene, rng: Random) -> str | None:
    """One of several sentences with a gap for a word of the last turns."""
    word = _find_keyword(scene, rng)
    return word and rng.choice(phrases.KEYWORD_TEMPLATES).format(word)


def name_keywords(scene: Scene, rng: Random) -> str | None:
    """Content words of the context in random order."""
    words = list(dict.fromkeys(find_content_words(" ".join(scene.earlier[-NUM_CONTEXT_TURNS:]))))
    if len(words) < MIN_WORDS:
        return None
    return " ".join(rng.sample(words, MIN_WORDS))


def shuffle_words(scene: Scene, rng: Random) -> str | None:
    """The words of the human reply in random order."""
    words = scene.exchange.response.split()
    if len(words) < MIN_WORDS:
        return None
    rng.shuffle(words)
    return " ".join(words)


def shuffle_pairs(scene: Scene, rng: Random) -> str | None:
    """The human reply in pieces of two words, in random order."""
    words = scene.exchange.response.split()
    pieces = [words[i : i + 2] for i in range(0, len(words), 2)]
    if len(words) < MIN_WORDS:
        return None
    rng.shuffle(pieces)
    return " ".join(word for piece in pieces for word in piece)


def draw_words(scene: Scene, rng: Random) -> str | None:
    """As many words as the human reply has, each from a random human reply."""
    num_words = max(MIN_WORDS, len(scene.exchange.response.split()))
    return " ".join(rng.choice(rng.choice(scene.pool).split()) for _ in range(num_words))


def say_elsewhere(scene: Scene, rng: Random) -> str | None:
    """A human reply of another conversation."""
    return scene.pool[0]


def say_nearby(scene: Scene, rng: Random) -> str | None:
    """Of many replies of other conversations, the one that shares most words with the context."""
    wanted = set(find_content_words(" ".join(scene.earlier[-NUM_CONTEXT_TURNS:])))
    return max(scene.pool, key=lambda reply: len(wanted & set(find_content_words(reply))))


def say_again(scene: Scene, rng: Random) -> str | None:
    """What the same speaker said `STALE_TURNS` turns ago."""
    return scene.earlier[-STALE_TURNS] if len(scene.earlier) >= STALE_TURNS else None


def insult(scene: Scene, rng: Random) -> str | None:
    """A rude reply."""
    return rng.choice(phrases.RUDE)


def refuse(scene: Scene, rng: Random) -> str | None:
    """A reply that helps nobody."""
    return rng.choice(phrases.UNHELPFUL)


def break_off(scene: Scene, rng: Random) -> str | None:
    """The first half of the human reply."""
    words = scene.exchange.response.split()
    return " ".join(words[: len(words) // 2]) if len(words) >= MIN_WORDS else None


def ask_nothing(scene: Scene, rng: Random) -> str | None:
    """Question marks."""
    return "?" * rng.randint(1, 12)


def repeat_piece(scene: Scene, rng: Random) -> str | None:
    """Three words of the human reply, six times."""
    words = scene.exchange.response.split()
    return " ".join(words[:3] * 6) if len(words) >= MIN_WORDS else None


def repeat_sentence(scene: Scene, rng: Random) -> str | None:
    """The human reply's first sentence, three times."""
    sentence = split_sentences(scene.exchange.response)[0]
    return " ".join([sentence] * 3) if len(sentence.split()) >= MIN_WORDS // 2 else None


def ramble(scene: Scene, rng: Random) -> str | None:
    """The human reply, and then what was said elsewhere."""
    return " ".join([scene.exchange.response, *scene.pool[:4]])


def fabricate(scene: Scene, rng: Random) -> str | None:
    """The human reply with an invented fact about a word of the context."""
    word = _find_keyword(scene, rng)
    if word is None:
        return None
    invented = rng.choice(phrases.INVENTED_FACTS).format(word, number=rng.randint(11, 97))
    return f"{scene.exchange.response} {invented}"


def contradict(scene: Scene, rng: Random) -> str | None:
    """The last turn's first statement turned into its opposite."""
    for sentence in split_sentences(scene.earlier[-1]):
        words = sentence.split()
        for place, word in enumerate(words):
            if word.lower() in phrases.OPPOSITES and not sentence.endswith("?"):
                words[place] = phrases.OPPOSITES[word.lower()]
                return f"No, {' '.join(words)}"
    return None


def _find_keyword(scene: Scene, rng: Random) -> str | None:
    """A content word of the last two turns, by preference one that is said more than once."""
    words = Counter(find_content_words(" ".join(scene.earlier[-2:])))
    if not words:
        return None
    most = max(words.values())
    return rng.choice([word for word, count in words.items() if count == most])


LIMIT = 0.2
ATTACKS: dict[str, Attack] = {
    "constant sentence": Attack(say_constant, LIMIT),
    "generic agreement": Attack(agree, LIMIT),
    "last turn parroted": Attack(parrot, LIMIT),
    "keyword template": Attack(fill_template, LIMIT),
    "word salad, shuffled reply": Attack(shuffle_words, LIMIT),
    "word salad, random words": Attack(draw_words, LIMIT),
    "another conversation's reply": Attack(say_elsewhere, LIMIT),
    "rude reply": Attack(insult, LIMIT),
    "unhelpful reply": Attack(refuse, LIMIT),
    "last turn behind a polite word": Attack(parrot_politely, LIMIT),
    "first turn of the context": Attack(parrot_first, LIMIT),
    "two turns stitched": Attack(parrot_stitched, LIMIT),
    "many keyword templates": Attack(fill_templates, LIMIT),
    "keywords alone": Attack(name_keywords, LIMIT),
    "word salad, pairs of words": Attack(shuffle_pairs, LIMIT),
    "question marks": Attack(ask_nothing, LIMIT),
    "three words repeated": Attack(repeat_piece, LIMIT),
    "sentence repeated": Attack(repeat_sentence, LIMIT),
    "reply and ramblings": Attack(ramble, LIMIT),
    "reply of six turns ago": Attack(say_again, None),
    "nearest reply of elsewhere": Attack(say_nearby, None),
    "reply broken off": Attack(break_off, None),
    "invented fact": Attack(fabricate, None),
    "contradiction": Attack(contradict, None),
}
"""By the name that tables show."""
