"""What the two sides of a split have in common: the proof that none is trained and measured on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.maxims.pairs.rows import read_prompt
from parley.platform.maxims.text.wording import is_long, likeness, split_turns


@dataclass(frozen=True)
class LeakCheck:
    """Different texts that stand on both sides, without regard to case and white space."""

    shared_conversations: int
    shared_prompts: int
    shared_contexts: int
    shared_chosen: int
    shared_utterances: int
    """Turns and chosen responses of six words or more."""
    crossed_responses: int
    """Chosen on one side and rejected on the other."""
    shared_rejected: int
    """Stock sentences of the injections: they are no part of any conversation."""
    heldout_pairs_with_shared_rejected: int
    heldout_pairs: int

    @property
    def leaks(self) -> dict[str, int]:
        """What must be 0."""
        names = (
            "shared_conversations",
            "shared_prompts",
            "shared_contexts",
            "shared_chosen",
            "shared_utterances",
        )
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, int]:
        """All figures by name."""
        return asdict(self)


def check_leaks(split: PairSplit) -> LeakCheck:
    """Compare the two sides; prompts have the form that `parley data prepare` writes."""
    training, heldout = _Side(split.training), _Side(split.heldout)
    stock = training.rejected & heldout.rejected
    return LeakCheck(
        shared_conversations=len(training.conversations & heldout.conversations),
        shared_prompts=len(training.prompts & heldout.prompts),
        shared_contexts=len(training.contexts & heldout.contexts),
        shared_chosen=len(training.chosen & heldout.chosen),
        shared_utterances=len(training.utterances & heldout.utterances),
        crossed_responses=len(training.chosen & heldout.rejected)
        + len(training.rejected & heldout.chosen),
        shared_rejected=len(stock),
        heldout_pairs_with_shared_rejected=sum(
            likeness(pair.rejected) in stock for pair in split.heldout
        ),
        heldout_pairs=len(split.heldout),
    )


def find_repeats(split: PairSplit) -> set[str]:
    """Ids of the held-out pairs whose context or chosen response stands in training, too."""
    training = _Side(split.training)
    repeats = set()
    for pair in split.heldout:
        context, _ = read_prompt(pair.prompt)
        if likeness(context) in training.contexts or likeness(pair.chosen) in training.chosen:
            repeats.add(pair.id)
    return repeats


class _Side:
    """The texts of one side, as sets of likenesses."""

    def __init__(self, pairs: Iterable[PreferencePair]) -> None:
        self.conversations: set[str] = set()
        self.prompts: set[str] = set()
        self.contexts: set[str] = set()
        self.chosen: set[str] = set()
        self.rejected: set[str] = set()
        self.utterances: set[str] = set()
        for pair in pairs:
            context, _ = read_prompt(pair.prompt)
            self.conversations.add(pair.conversation)
            self.prompts.add(likeness(pair.prompt))
            self.contexts.add(likeness(context))
            self.chosen.add(likeness(pair.chosen))
            self.rejected.add(likeness(pair.rejected))
            said = (*split_turns(context), pair.chosen)
            self.utterances.update(likeness(text) for text in said if is_long(text))
