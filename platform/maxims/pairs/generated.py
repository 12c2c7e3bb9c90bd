"""Preference pairs without a file: parley's small talk, violated by its injectors.

The real data's form: a window of turns by two agents, the next turn as the chosen response, and one
of its violations as the rejected one. One conversation in ten is held out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random

from parley.envs.dialogue.smalltalk.generator import iterate_dialogues
from parley.platform.maxims.pairs.injectors import INJECTORS, inject
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.maxims.pairs.preparing import pair_id
from parley.platform.maxims.text.exchange import MAXIMS, Exchange, make_prompt
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.maxims.text.wording import is_long, likeness, split_turns

WINDOW = 3
"""Turns of a context, at most."""
HELDOUT_EVERY = 10
"""Of so many conversations, the last is held out."""
MIN_RESPONSE_WORDS = 4
"""There is little to violate in less."""
PAIRS_PER_RESPONSE = 2
"""Violations of one response, at most."""
MAX_POOL = 40
"""Earlier responses to answer off topic with."""
SINGLE_TO_SEVERAL = 6
"""A violation of one maxim is so many times as frequent as one of several."""
EVIDENCE = "Personal Knowledge"
SOURCE = "smalltalk"
MAX_DIALOGUES = 10_000_000
"""Small talk repeats itself before it comes to this."""


def generate_pairs(num_pairs: int, seed: int) -> PairSplit:
    """`num_pairs` pairs, a tenth of them (at least one) held out; equal arguments, equal pairs.

    No context, long turn or chosen response of the held-out side stands in training.

    Raises:
        ValueError: fewer than two pairs are asked for.
    """
    if num_pairs < 2:
        raise ValueError(f"num_pairs must be at least 2, one for each side; got {num_pairs}")
    num_heldout = max(1, num_pairs // HELDOUT_EVERY)
    training = _Side(num_pairs - num_heldout, Random(f"training pairs {seed}"))
    heldout = _Side(num_heldout, Random(f"held-out pairs {seed}"))
    waiting: list[tuple[int, list[str]]] = []
    for index, turns in enumerate(iterate_dialogues(MAX_DIALOGUES, seed)):
        if index % HELDOUT_EVERY == HELDOUT_EVERY - 1:
            waiting.append((index, turns))
        else:
            training.add(index, turns)
        if training.is_full:
            # Only now is it known what training holds.
            for waiting_index, waiting_turns in waiting:
                heldout.add(waiting_index, waiting_turns, training)
            waiting.clear()
            if heldout.is_full:
                break
    return PairSplit(training.pairs, heldout.pairs)


@dataclass
class _Side:
    """Pairs of one side while they are made."""

    num_pairs: int
    random: Random
    pairs: list[PreferencePair] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)
    """Likenesses of contexts, of their long turns and of chosen responses."""
    rejected: set[str] = field(default_factory=set)
    """Likenesses."""
    pool: list[str] = field(default_factory=list)
    """Responses of earlier conversations."""

    @property
    def is_full(self) -> bool:
        """Whether all pairs are there."""
        return len(self.pairs) >= self.num_pairs

    def add(self, index: int, turns: Sequence[str], other: _Side | None = None) -> None:
        """Pairs of one conversation, without what `other` says already."""
        replies = []
        for exchange in _exchanges(turns):
            said = _likenesses(exchange)
            if other is not None and said & (other.said | other.rejected):
                continue
            pairs = [
                pair
                for pair in self._violate(exchange, f"talk-{index}")
                if pair.id not in self.ids
                and (other is None or likeness(pair.rejected) not in other.said)
            ][: self.num_pairs - len(self.pairs)]
            if not pairs:
                continue
            self.pairs += pairs
            self.ids.update(pair.id for pair in pairs)
            self.said |= said
            self.rejected.update(likeness(pair.rejected) for pair in pairs)
            replies.append(exchange.response)
        self.pool = (self.pool + replies)[-MAX_POOL:]

    def _violate(self, exchange: Exchange, conversation: str) -> list[PreferencePair]:
        """Pairs of one response, each violating other maxims."""
        pairs: list[PreferencePair] = []
        for label in _draw_labels(self.random):
            names = [name for name, row in INJECTORS.items() if row.maxims == label]
            self.random.shuffle(names)
            tries = (inject(name, exchange, self.random, self.pool) for name in names)
            rejected = next((text for text in tries if text), None)
            if rejected is not None:
                pairs.append(_make_pair(exchange, rejected, "+".join(label), conversation))
            if len(pairs) == PAIRS_PER_RESPONSE:
                break
        return pairs


def _exchanges(turns: Sequence[str]) -> Iterator[Exchange]:
    """Each turn but the first, in its window, if it is long enough."""
    spoken = [
        f"[agent_{1 + place % 2}]: {normalise_space(turn)}" for place, turn in enumerate(turns)
    ]
    for place, turn in islice(enumerate(turns), 1, None):
        if len(turn.split()) >= MIN_RESPONSE_WORDS:
            context = " ".join(spoken[max(0, place - WINDOW) : place])
            yield Exchange(context, EVIDENCE, normalise_space(turn))


def _likenesses(exchange: Exchange) -> set[str]:
    """What of an exchange may not stand on both sides."""
    turns = (turn for turn in split_turns(exchange.context) if is_long(turn))
    return {likeness(text) for text in (exchange.context, exchange.response, *turns)}


def _draw_labels(random: Random) -> list[tuple[str, ...]]:
    """All sets of maxims that injectors violate, in random order, the single ones mostly first."""
    labels = sorted({row.maxims for row in INJECTORS.values()})
    weights = {label: SINGLE_TO_SEVERAL if len(label) == 1 else 1 for label in labels}
    # Exponential clocks: who rings first is drawn in proportion to the weights.
    return sorted(labels, key=lambda label: random.expovariate(weights[label]))


def _make_pair(exchange: Exchange, rejected: str, maxim: str, conversation: str) -> PreferencePair:
    assert all(name in MAXIMS for name in maxim.split("+")), "injectors violate maxims"
    context, evidence, chosen = exchange
    return PreferencePair(
        id=pair_id(context, evidence, chosen, rejected),
        conversation=conversation,
        prompt=make_prompt(context, evidence),
        chosen=chosen,
        rejected=rejected,
        maxim=maxim,
        source=SOURCE,
    )
