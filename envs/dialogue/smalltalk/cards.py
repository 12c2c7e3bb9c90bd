"""The cards that speakers draw their facts from: rows of the tables, and numbers.

A card is a row drawn at once, so that its facts belong together: whose home is Lisbon lives in
Portugal. Titles and bands are put together from two tables, which makes their tail long.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random

from parley.envs.dialogue.smalltalk.tables import (
    ADJECTIVES,
    BOOK_KINDS,
    CITIES,
    DAYS,
    DISHES,
    DRINKS,
    FEELINGS,
    FILM_KINDS,
    FRIENDS,
    GAMES,
    GENRES,
    GIFTS,
    HOBBIES,
    JOBS,
    MONTHS,
    NAMES,
    NOUNS,
    PET_NAMES,
    PETS,
    PLACES,
    PLANTS,
    PLURALS,
    RELATIVES,
    SEASONS,
    SHOPS,
    SKIES,
    SPORTS,
    VEHICLES,
    Row,
)


@dataclass(frozen=True)
class Card:
    """Slots that are drawn together from one row of a table."""

    slots: tuple[str, ...]
    """The names of the row's columns."""
    table: tuple[Row, ...]
    nouns: tuple[Row, ...] | None = None
    """Where given, the only slot is `The <word of table> <word of nouns>`."""


CARDS = (
    Card(("name",), NAMES),
    Card(("home", "homeland", "homesight", "homesky"), CITIES),
    Card(("trip", "tripland", "tripsight", "tripsky"), CITIES),
    Card(("dream", "dreamland", "dreamsight", "dreamsky"), CITIES),
    Card(("dish", "cuisine", "ingredient"), DISHES),
    Card(("supper", "suppercuisine", "supperpart"), DISHES),
    Card(("drink",), DRINKS),
    Card(("job", "workplace", "task"), JOBS),
    Card(("pet", "petdoes"), PETS),
    Card(("petname",), PET_NAMES),
    Card(("sport", "gear", "ground"), SPORTS),
    Card(("team", "teamland", "teamsight", "teamsky"), CITIES),
    Card(("genre", "instrument"), GENRES),
    Card(("filmkind",), FILM_KINDS),
    Card(("bookkind",), BOOK_KINDS),
    Card(("game", "gamekind"), GAMES),
    Card(("hobby", "hobbyneeds"), HOBBIES),
    Card(("season", "seasonsky", "seasondo"), SEASONS),
    Card(("plant",), PLANTS),
    Card(("relative",), RELATIVES),
    Card(("relativename",), NAMES),
    Card(("friend",), FRIENDS),
    Card(("friendname",), NAMES),
    Card(("day",), DAYS),
    Card(("month",), MONTHS),
    Card(("shop",), SHOPS),
    Card(("place",), PLACES),
    Card(("vehicle", "stop"), VEHICLES),
    Card(("gift",), GIFTS),
    Card(("sky",), SKIES),
    Card(("feeling", "because"), FEELINGS),
    Card(("film",), ADJECTIVES, NOUNS),
    Card(("book",), ADJECTIVES, NOUNS),
    Card(("band",), ADJECTIVES, PLURALS),
    Card(("author",), NAMES),
)
CARD_OF = {slot: card for card in CARDS for slot in card.slots}
"""Slot -> the card that it is drawn with."""

NUMBERS = {
    "few": (2, 6),
    "some": (3, 12),
    "many": (10, 60),
    "age": (19, 45),
    "minutes": (5, 50),
    "hour": (5, 11),
    "price": (2, 30),
    "year": (1985, 2020),
}
"""Slot -> the smallest and the largest number; small ones are likelier."""


@cache
def _cumulative_weights(num_rows: int) -> list[float]:
    return list(accumulate(1.0 / (rank + 3.0) for rank in range(num_rows)))


def draw_rank(num_rows: int, random: Random) -> int:
    """A row by Zipf's law, shifted: the r-th of them with a weight of 1 / (r + 3), r from 0."""
    weights = _cumulative_weights(num_rows)
    return bisect(weights, random.random() * weights[-1], 0, num_rows - 1)


def draw_card(card: Card, random: Random) -> dict[str, str]:
    """Slot -> text for all slots of a card."""
    row = card.table[draw_rank(len(card.table), random)]
    if card.nouns is not None:
        (noun,) = card.nouns[draw_rank(len(card.nouns), random)]
        return {card.slots[0]: f"The {row[0]} {noun}"}
    return dict(zip(card.slots, row, strict=True))


def draw_number(slot: str, random: Random) -> str:
    """A number of `NUMBERS`: exponential, and even over the whole range where that leaves it."""
    low, high = NUMBERS[slot]
    span = high - low
    offset = int(random.expovariate(3.0 / span))
    return str(low + (offset if offset <= span else int(random.random() * (span + 1))))
