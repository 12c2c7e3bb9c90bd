"""Who speaks: facts that are drawn when they are first needed and never change afterwards."""

from __future__ import annotations

from random import Random

from parley.envs.dialogue.smalltalk.cards import CARD_OF, NUMBERS, draw_card, draw_number
from parley.envs.dialogue.smalltalk.style import Style, draw_style
from parley.envs.dialogue.smalltalk.templates import expand

SHARED_RATE = 0.25
"""How often a speaker has a fact in common with the other, where both were drawn."""
YES_RATE = 0.6


class Speaker:
    """One side of a dialogue.

    Args:
        random: the dialogue's stream.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.style: Style = draw_style(random)
        self.told: set[str] = set()
        """Slots that the other side has heard."""
        self._facts: dict[str, str] = {}
        self._answers: dict[str, bool] = {}

    def fact(self, slot: str, other: Speaker | None = None) -> str:
        """The text of one of this speaker's slots; a new one is sometimes that of `other`."""
        if slot not in self._facts:
            if slot in NUMBERS:
                self._facts[slot] = draw_number(slot, self.random)
            else:
                self._draw(slot, other)
        return self._facts[slot]

    def shares(self, slot: str, other: Speaker) -> bool:
        """Whether both have the same fact."""
        return self.fact(slot, other) == other.fact(slot)

    def says_yes(self, question: str) -> bool:
        """The answer to a question that is answered by yes or no: always the same one."""
        if question not in self._answers:
            self._answers[question] = self.random.random() < YES_RATE
        return self._answers[question]

    def forget(self, slots: set[str]) -> None:
        """Let facts be drawn anew, such as the numbers of a second story."""
        for slot in slots & NUMBERS.keys():
            self._facts.pop(slot, None)

    def phrase(self, template: str, listener: Speaker) -> str:
        """A sentence of this speaker, not yet tidied; what it tells is noted in `told`."""

        def fill(slot: str) -> str:
            if slot.startswith("you."):
                return listener.fact(slot[4:], self)
            self.told.add(slot)
            return self.fact(slot, listener)

        return expand(template, self.random, fill)

    def _draw(self, slot: str, other: Speaker | None) -> None:
        card = CARD_OF[slot]
        shared = other is not None and slot in other._facts and card.slots[0] != "name"
        if shared and other is not None and self.random.random() < SHARED_RATE:
            drawn = {name: other.fact(name) for name in card.slots}
        else:
            drawn = draw_card(card, self.random)
        self._facts.update({name: text for name, text in drawn.items() if name not in self._facts})
