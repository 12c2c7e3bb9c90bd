"""Small talk by the thousand: two speakers, a topic, and moves that answer each other.

Who owns what: `tables` the facts, `topics_*` what can be said, `speakers` who knows what, and this
module the order of the moves. A dialogue is a function of (seed, index) alone, so that the first
thousand dialogues of ten thousand are the thousand that the same seed gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from parley.envs.dialogue.smalltalk import phrases
from parley.envs.dialogue.smalltalk.cards import NUMBERS, draw_rank
from parley.envs.dialogue.smalltalk.moves import (
    Claim,
    Move,
    Question,
    Story,
    Templates,
    Topic,
    YesNo,
    opening_lines,
)
from parley.envs.dialogue.smalltalk.speakers import Speaker
from parley.envs.dialogue.smalltalk.style import tidy
from parley.envs.dialogue.smalltalk.templates import slots_of
from parley.envs.dialogue.smalltalk.topics_home import HOME_TOPICS
from parley.envs.dialogue.smalltalk.topics_leisure import LEISURE_TOPICS
from parley.envs.dialogue.smalltalk.topics_outside import OUTSIDE_TOPICS

TOPICS: tuple[Topic, ...] = tuple(
    topic
    for group in zip(HOME_TOPICS, LEISURE_TOPICS, OUTSIDE_TOPICS, strict=True)
    for topic in group
)
"""All topics, the most frequent first."""
RECALLS = {slot: lines for topic in TOPICS for slot, lines in topic.recalls.items()}
MIN_TURNS, MAX_TURNS = 2, 8
_NUM_TURNS = (2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 8, 8)


def generate_dialogues(num: int, seed: int) -> list[list[str]]:
    """`num` dialogues of 2 to 8 turns, each turn a message; the first is the opener.

    Raises:
        ValueError: `num` is negative.
    """
    if num < 0:
        raise ValueError(f"the number of dialogues must be at least 0, got {num}")
    return list(iterate_dialogues(num, seed))


def iterate_dialogues(num: int, seed: int) -> Iterator[list[str]]:
    """The dialogues of `generate_dialogues` one by one."""
    for index in range(num):
        yield Talk(Random(f"small talk {seed} {index}")).run()


def generate_openers(num: int, seed: int) -> list[str]:
    """`num` different first messages, in the order in which their dialogues come.

    Raises:
        ValueError: `num` is negative.
    """
    if num < 0:
        raise ValueError(f"the number of openers must be at least 0, got {num}")
    openers: dict[str, None] = {}
    index = 0
    while len(openers) < num:
        talk = Talk(Random(f"small talk {seed} {index}"))
        openers.setdefault(talk.run()[0])
        index += 1
    return list(openers)


class Talk:
    """One dialogue while it is made: whose turn it is, what is asked and what was said.

    Args:
        random: all its chance.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.speaker, self.listener = Speaker(random), Speaker(random)
        self.topic = self._draw_topic()
        self.used: list[Move] = []
        self.num_turns = _NUM_TURNS[int(random.random() * len(_NUM_TURNS))]
        self.pending: Move | None = None
        """What the other side has just begun, and this side answers."""
        self.asked_back = False
        """Whether the pending question came back from the one who had answered it."""
        self.story_turn = 0
        self.remark_on: Move | None = None
        """What the other side has just answered."""
        self.says_yes = False
        self.farewell = random.random() < 0.5
        self.said_farewell = False

    def run(self) -> list[str]:
        """All turns."""
        turns = []
        for index in range(self.num_turns):
            parts = self._open() if index == 0 else self._turn(self.num_turns - index)
            turns.append(self.speaker.style.apply(tidy(" ".join(parts)), self.random))
            self.speaker, self.listener = self.listener, self.speaker
        return turns

    def _open(self) -> list[str]:
        chance = self.random.random()
        parts = [self._say(phrases.GREETINGS)] if chance < 0.4 else []
        if chance >= 0.12:
            parts.append(self._begin())
        return parts

    def _turn(self, num_left: int) -> list[str]:
        """The parts of a turn: a remark, an answer, then something new or a farewell."""
        if self.said_farewell:
            return [self._say(phrases.FAREWELL_REPLIES)]
        parts = self._respond()
        ends = self.farewell and num_left <= 2
        if ends:
            self.said_farewell = True
            parts += self._say_farewell()
        elif self.pending is None and (not parts or self.random.random() < 0.6):
            if parts and self.random.random() < 0.2:
                parts.append(self._say(phrases.CHANGES))
                self.topic = self._draw_topic()
            parts.append(self._begin())
        return parts

    def _respond(self) -> list[str]:
        """What the other side's turn calls for; sets what it leaves open."""
        move, self.pending = self.pending, None
        remark_on, self.remark_on = self.remark_on, None
        parts = []
        if remark_on is not None and (move is None or self.random.random() < 0.4):
            parts.append(self._remark(remark_on))
        if move is None:
            if not parts:
                parts += self._acknowledge()
            return parts
        if isinstance(move, Story):
            return parts + self._continue_story(move)
        if isinstance(move, Claim):
            agrees = self.random.random() < 0.55
            return [*parts, self._say(move.agrees if agrees else move.disagrees)]
        parts += self._answer(move)
        self.remark_on = move
        return parts

    def _answer(self, move: Question | YesNo) -> list[str]:
        """The answer, and perhaps the question back."""
        parts = []
        if isinstance(move, YesNo):
            self.says_yes = self.speaker.says_yes(move.asks[0])
            parts.append(self._say(move.yes if self.says_yes else move.no))
        elif self.asked_back and move.fact in self.listener.told:
            same = self.speaker.shares(move.fact, self.listener)
            lead = phrases.SAME if same else phrases.OTHER
            parts += [self._say(lead)] if self.random.random() < 0.6 else []
            parts += [] if same and parts else [self._say(move.answers)]
        else:
            parts.append(self._say(move.answers))
        if self.asked_back:
            self.asked_back = False
        elif self.random.random() < 0.35:
            parts.append(self._say(phrases.ASK_BACKS))
            self.pending, self.asked_back = move, True
        return parts

    def _continue_story(self, story: Story) -> list[str]:
        self.story_turn += 1
        if self.story_turn == 1:
            self.pending = story
            return [self._say(story.asks)]
        return [self._say(story.answers)]

    def _remark(self, move: Move) -> str:
        if isinstance(move, Question):
            return self._say(self._remarks(move))
        assert isinstance(move, YesNo), "only questions are answered"
        return self._say(move.after_yes if self.says_yes else move.after_no)

    def _remarks(self, question: Question) -> Templates:
        """Those that make sense: who has the same fact does not prefer another."""
        if not self.speaker.shares(question.fact, self.listener):
            return question.remarks
        own = question.fact
        return tuple(line for line in question.remarks if own not in slots_of(line)) or phrases.SAME

    def _acknowledge(self) -> list[str]:
        greeted = not self.used
        if not greeted:
            return [self._say(phrases.ACKNOWLEDGEMENTS)]
        named = "name" in self.listener.told
        return [self._say(phrases.NAMED_GREETING_REPLIES if named else phrases.GREETING_REPLIES)]

    def _begin(self) -> str:
        """Something new: mostly of the topic, now and then back to what the other has told."""
        recallable = sorted(self.listener.told & RECALLS.keys())
        if recallable and self.used and self.random.random() < 0.15:
            return self._say(RECALLS[self._pick(recallable)])
        fresh = [move for move in self.topic.moves if move not in self.used]
        if not fresh:
            self.topic = self._draw_topic()
            fresh = [move for move in self.topic.moves if move not in self.used]
        if not fresh:
            return self._say(phrases.ACKNOWLEDGEMENTS)
        move = fresh[draw_rank(len(fresh), self.random)]
        self.used.append(move)
        self.pending, self.asked_back, self.story_turn = move, False, 0
        if isinstance(move, Story):
            self.speaker.forget(set(NUMBERS))
        return self._say(opening_lines(move))

    def _say_farewell(self) -> list[str]:
        parts = [self._say(phrases.FAREWELLS)]
        recallable = sorted(self.listener.told & RECALLS.keys())
        if recallable and self.random.random() < 0.4:
            parts.append(self._say(RECALLS[self._pick(recallable)]))
        elif "name" in self.listener.told and self.random.random() < 0.6:
            parts = [self._say(phrases.NAMED_FAREWELLS)]
        return parts

    def _say(self, templates: Templates) -> str:
        return self.speaker.phrase(self._pick(templates), self.listener)

    def _pick(self, lines: Templates | list[str]) -> str:
        return lines[int(self.random.random() * len(lines))]

    def _draw_topic(self) -> Topic:
        return TOPICS[draw_rank(len(TOPICS), self.random)]
