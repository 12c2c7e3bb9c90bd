"""The conversations that preference pairs were taken from, put together again.

A pair is a window of a conversation: some turns, and what a person answered. Windows overlap, so
that turns which follow each other everywhere give the conversation back, in one part or in several
where windows are missing. The judge and the detector learn from it what people say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from parley.envs.dialogue.conversation_files import MIN_MESSAGES
from parley.envs.dialogue.conversations import Conversation
from parley.platform.maxims.pairs.grouping import Spoken, group_conversations
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.maxims.text.exchange import split_prompt
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.maxims.text.wording import likeness, split_turns


def find_training_conversations(split: PairSplit) -> list[Conversation]:
    """What people said on the training side, without conversations that the held-out side shares.

    Where a folder's own split cuts conversations, those that stand on both sides are left out:
    what learns from the rest has heard nothing of what is measured.

    Raises:
        ValueError: a prompt has not the form that `make_prompt` gives.
    """
    pairs = [*split.training, *split.heldout]
    windows = [_read_window(pair) for pair in pairs]
    # Rejected responses are nobody's words, and stock ones would join what is apart.
    spoken = [
        Spoken(pair.conversation, split_prompt(pair.prompt)[0], pair.chosen, "") for pair in pairs
    ]
    groups = group_conversations(spoken)
    heldout = set(groups[len(split.training) :])
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(groups[: len(split.training)]):
        if group not in heldout:
            members[group].append(place)
    found = []
    for places in members.values():
        name = pairs[places[0]].conversation
        parts = join_windows([windows[place] for place in places])
        found += [
            Conversation(f"{name}#{number}", part, whole=name) for number, part in enumerate(parts)
        ]
    return found


def join_windows(windows: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """The longest runs of turns in which each has one predecessor and one successor only.

    Args:
        windows: turns that follow each other, of one conversation. Turns are the same whatever
            their case and white space.
    """
    texts: dict[str, str] = {}
    after: defaultdict[str, set[str]] = defaultdict(set)
    before: defaultdict[str, set[str]] = defaultdict(set)
    for window in windows:
        keys = [likeness(turn) for turn in window]
        for key, turn in zip(keys, window, strict=True):
            texts.setdefault(key, turn)
        for first, second in pairwise(keys):
            after[first].add(second)
            before[second].add(first)

    def follower(key: str) -> str | None:
        if len(after[key]) != 1:
            return None
        (second,) = after[key]
        return second if len(before[second]) == 1 else None

    followers = {key: follower(key) for key in texts}
    inner = set(followers.values())
    parts: list[tuple[str, ...]] = []
    for start in texts:
        if start in inner:
            continue
        run: list[str] = []
        place: str | None = start
        while place is not None:
            run.append(texts[place])
            place = followers[place]
        if len(run) >= MIN_MESSAGES:
            parts.append(tuple(run))
    return parts


def count_replies(conversations: Sequence[Conversation]) -> int:
    """Turns that answer another one."""
    return sum(len(talk.messages) - 1 for talk in conversations)


def _read_window(pair: PreferencePair) -> list[str]:
    return [*split_turns(split_prompt(pair.prompt)[0]), normalise_space(pair.chosen)]
