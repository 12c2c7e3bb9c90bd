"""Openers, the first turns of dialogues: built in or from a file, and a share kept for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from parley.envs.dialogue.conversation_files import json_rows, read_conversations
from parley.envs.dialogue.spelt_ends import strip_spelt_ends
from parley.envs.dialogue.text_files import (
    KINDS,
    kind_of,
    read_text,
    refuse_json_as_text,
    split_lines,
)

COMMENT = "#"
EXAMPLE = '{"text": "Hello!"}'
"""An opener in JSON lines, in messages."""

OPENERS: tuple[str, ...] = (
    # Greetings
    "Hello",
    "Hi there!",
    "Good morning! Did you sleep well?",
    "Good evening, nice to meet you.",
    "Hey, long time no see. What have you been up to?",
    "Hi, how is your day going so far?",
    "Hello, is this seat taken?",
    "Welcome back! How was it?",
    "Hey, you look happy today.",
    "Hi, I don't think we have met before.",
    "Good afternoon. Busy day?",
    "So, what's new with you?",
    # Food and drink
    "What did you have for breakfast?",
    "I just burnt a whole tray of biscuits.",
    "Do you prefer tea or coffee?",
    "I could eat pizza every single day.",
    "Have you ever tried to bake your own bread?",
    "What is the strangest thing you have ever eaten?",
    "My neighbour gave me a bag full of tomatoes and I don't know what to do with them.",
    "There is a new noodle place around the corner.",
    "I'm trying to eat less sugar, but it's hard.",
    "Who does the cooking at your place?",
    "Nothing beats a bowl of soup on a cold day.",
    "Do you like spicy food?",
    # Travel and places
    "Where would you go if you had a free ticket?",
    "I missed my train this morning by ten seconds.",
    "Have you ever been to Japan?",
    "I like the sea more than the mountains.",
    "What is your home town like?",
    "We spent our holiday in a tent and it rained the whole week.",
    "Do you get nervous when you fly?",
    "I would love to see the northern lights one day.",
    "Which city should everybody visit once?",
    "I always pack far too many clothes.",
    "Do you know a quiet place near the lake?",
    "I got lost on the way here.",
    # Music
    "What kind of music do you listen to?",
    "I have had the same song in my head since Monday.",
    "Do you play any instrument?",
    "I went to a concert last night and my ears are still ringing.",
    "My sister is learning the drums, and the walls are thin.",
    "Which album could you listen to forever?",
    "I can't sing at all, but I do it anyway.",
    "Is there a song that always makes you dance?",
    "I found my grandfather's old record player.",
    "Do you like jazz?",
    # Films and television
    "Have you seen any good movies lately?",
    "I fell asleep in the middle of the film again.",
    "Do you like scary movies?",
    "What was your favourite cartoon as a child?",
    "I watched the whole season in one weekend.",
    "The book was so much better than the film.",
    "Who is the best actor of all time?",
    "I never understand the ending of time travel films.",
    "Do you go to the cinema, or do you watch at home?",
    "That documentary about whales made me cry.",
    # Pets and other animals
    "Do you have any pets?",
    "My cat woke me up at five again.",
    "I'm thinking about adopting a dog.",
    "Are you a cat person or a dog person?",
    "A squirrel has moved into our attic.",
    "My parrot has learned to imitate the doorbell.",
    "What animal would you like to be for a day?",
    "I saw a fox in the garden last night.",
    "How do I stop my puppy from eating my shoes?",
    "I could watch fish for hours.",
    "Did you know that octopuses have three hearts?",
    # Sport
    "Did you watch the game last night?",
    "I started running, and everything hurts.",
    "Do you play any sports?",
    "Our team lost again, of course.",
    "I would like to learn how to surf.",
    "What is the best way to get fit?",
    "I don't understand the rules of cricket at all.",
    "My cousin has just finished her first marathon.",
    "Who is going to win the cup this year?",
    "Swimming is the only sport I enjoy.",
    "Do you want to go for a bike ride on Saturday?",
    # Weather and seasons
    "It has been raining for three days now.",
    "What is the weather like where you are?",
    "I love the first snow of the year.",
    "It's far too hot to do anything today.",
    "Did you hear the thunder last night?",
    "Autumn is my favourite season. What's yours?",
    "They say it will be sunny all weekend.",
    "I forgot my umbrella, of course.",
    "The wind took my hat this morning.",
    # Work and school
    "What do you do for a living?",
    "I have a job interview tomorrow.",
    "My boss wants me to work on Sunday.",
    "How do you stay awake in long meetings?",
    "I finally finished my exams!",
    "What did you want to become when you were little?",
    "I'm thinking of learning a new language.",
    "My computer crashed and took my essay with it.",
    "Do you like your job?",
    "Maths was my worst subject at school.",
    "I would rather work from home.",
    # Books
    "What are you reading at the moment?",
    "I can't put this detective story down.",
    "Which book would you take to a desert island?",
    "I never finish the books I start.",
    "Do you prefer paper books or reading on a screen?",
    "I have borrowed so many books that the shelf broke.",
    "Can you recommend a good fantasy novel?",
    "Poetry is wasted on me, I'm afraid.",
    # Games and hobbies
    "Do you play video games?",
    "I lost at chess against a nine-year-old.",
    "What do you do in your free time?",
    "We have a board game evening every Thursday.",
    "I have started to knit a scarf.",
    "I need a new hobby. Any ideas?",
    "My plants keep dying and I don't know why.",
    "Do you like puzzles?",
    "I've been building a model ship for two years.",
    "What was the first game you ever played?",
    # Home, family, plans
    "What are your plans for the weekend?",
    "My brother is getting married in June.",
    "I have just moved into a new flat.",
    "Do you have any brothers or sisters?",
    "I can't find my keys anywhere.",
    "My grandmother turned ninety yesterday.",
    "Today is my birthday!",
    "Do you believe in luck?",
    "What would you do with a million dollars?",
    "I had the weirdest dream last night.",
    "What made you laugh today?",
    "Tell me something about yourself.",
    "What is the best advice you were ever given?",
    "I'm so bored.",
)


def load_openers(path: Path | None = None) -> list[str]:
    """Give the openers of a file, or the built-in ones.

    An end token that is spelt at the end of an opener is left out.

    Args:
        path: plain text (`.txt`): one opener a line; blank lines and lines that begin with "#" are
            skipped. JSON (`.json`, `.jsonl`, `.ndjson`): strings, or objects with `text`, one an
            opener; of conversations, in any form of `conversation_files`, the first turn of each.
            None: the built-in openers.

    Raises:
        ValueError: the file cannot be read, is of no known kind, holds no opener, or one of them
            twice; it names the file, the line and the remedy.
    """
    if path is None:
        return list(OPENERS)
    kind = kind_of(path, tuple(KINDS.values()), EXAMPLE)
    text = read_text(path)
    if kind == "text":
        lines = split_lines(text)
        refuse_json_as_text(path, lines)
        found: list[tuple[str, str | None]] = [
            (f"line {number}", line)
            for number, line in enumerate(lines, 1)
            if not line.strip().startswith(COMMENT)
        ]
    else:
        rows = json_rows(path, kind, text)
        found = [(row.place.removeprefix(f"{path}, "), _said(row.value)) for row in rows]
        if not all(said is not None for _, said in found):
            talks = read_conversations(path, min_messages=1)
            return list(dict.fromkeys(talk.messages[0] for talk in talks))
    return _checked(path, found)


def _said(value: object) -> str | None:
    """The opener that a JSON value is; None where it is no opener by itself."""
    if isinstance(value, Mapping) and set(value) == {"text"}:
        value = value["text"]
    return value if isinstance(value, str) else None


def _checked(path: Path, found: Sequence[tuple[str, str | None]]) -> list[str]:
    """The openers at their places, none blank and each once."""
    first_places: dict[str, str] = {}
    for place, said in found:
        opener = strip_spelt_ends(said or "")
        if not opener:
            continue
        if opener in first_places:
            raise ValueError(
                f"{path}: {place} repeats {first_places[opener]} ({opener!r}): "
                "remove one, each opener stands once"
            )
        first_places[opener] = place
    if not first_places:
        raise ValueError(
            f"{path}: no opener in {len(found)} lines: write one a line, such as {OPENERS[0]!r}"
        )
    return list(first_places)


def split_openers(openers: Sequence[str], holdout: float) -> tuple[list[str], list[str]]:
    """Split openers into those for training and those held out, by a hash of each opener's text.

    An opener falls on the same side whatever the others are and whatever their order; only where
    all would fall on one side, the one nearest to the border goes over.

    Args:
        openers: two or more, different from each other.
        holdout: the share to hold out, between 0 and 1 (exclusive), met in expectation.

    Returns:
        Two non-empty lists in the order of `openers`.

    Raises:
        ValueError: `holdout` is outside its range, or the openers are fewer than two or repeat.
    """
    if not 0 < holdout < 1:
        raise ValueError(f"holdout must be between 0 and 1 (exclusive), got {holdout!r}")
    if len(openers) < 2:
        raise ValueError(
            f"{len(openers)} openers cannot be split into two parts: give at least two"
        )
    shares = {opener: _hash_share(opener) for opener in openers}
    if len(shares) < len(openers):
        repeated = sorted({opener for opener in openers if openers.count(opener) > 1})
        raise ValueError(f"openers must differ from each other, got {repeated} more than once")
    heldout = {opener for opener, share in shares.items() if share < holdout}
    if not heldout:
        heldout = {min(shares, key=shares.__getitem__)}
    elif len(heldout) == len(shares):
        heldout -= {max(shares, key=shares.__getitem__)}
    return (
        [opener for opener in openers if opener not in heldout],
        [opener for opener in openers if opener in heldout],
    )


def _hash_share(text: str) -> float:
    """Give a number in [0, 1) that depends on nothing but `text`."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
