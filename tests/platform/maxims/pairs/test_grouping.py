"""Conversations found again from what is said in them, and the split between them."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.platform.maxims.pairs.grouping import Spoken, group_conversations
from parley.platform.maxims.pairs.leaks import check_leaks, find_repeats
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.maxims.pairs.splitting import SplitError, choose_heldout
from parley.platform.maxims.text.exchange import make_prompt
from parley.platform.maxims.text.wording import is_long, likeness, split_turns

WORDS = st.sampled_from(["one", "two", "three", "four", "five"])
UTTERANCES = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
SPOKEN = st.builds(
    lambda name, turns, chosen, rejected: Spoken(
        name,
        " ".join(f"[agent_{1 + place % 2}]: {turn}" for place, turn in enumerate(turns)),
        chosen,
        rejected,
    ),
    st.sampled_from([None, None, "a", "b", "c"]),
    st.lists(UTTERANCES, min_size=1, max_size=3),
    UTTERANCES,
    UTTERANCES,
)
TALKS = [
    ["I went to the market this very morning", "What did you buy there, may I ask"],
    ["My cat has learned to open all doors", "Then nothing in your kitchen is safe"],
    ["The train was late again, as it always is", "You should take the bus to work instead"],
]


def strong(row: Spoken) -> set[str]:
    said = (*split_turns(row.context), row.chosen)
    named = {f"id {row.conversation}"} if row.conversation else set()
    return named | {likeness(text) for text in said if is_long(text)}


@given(st.lists(SPOKEN, max_size=25))
def test_rows_that_share_an_utterance_or_an_id_are_one_group(rows: list[Spoken]) -> None:
    groups = group_conversations(rows)
    for first, one in zip(rows, groups, strict=True):
        for second, other in zip(rows, groups, strict=True):
            if strong(first) & strong(second):
                assert one == other


@given(st.lists(SPOKEN, max_size=25), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order(rows: list[Spoken], random: Random) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = group_conversations([rows[place] for place in order])
    straight = group_conversations(rows)

    def partition(places: list[int], groups: list[int]) -> set[frozenset[int]]:
        members: dict[int, set[int]] = {}
        for place, group in zip(places, groups, strict=True):
            members.setdefault(group, set()).add(place)
        return set(map(frozenset, members.values()))

    assert partition(order, shuffled) == partition(list(range(len(rows))), straight)


def rows_of_talks(rejected: str = "It varies.") -> list[Spoken]:
    return [
        Spoken(None, f"[agent_1]: {first}", second, f"{rejected} {place}".strip())
        for place, (first, second) in enumerate(TALKS)
    ]


def test_windows_of_one_conversation_are_joined_without_an_id() -> None:
    first, second = TALKS[0]
    rows = [
        Spoken("t_1", f"[agent_1]: {first}", second, "No."),
        Spoken(None, f"[agent_1]: {first.upper()} [agent_2]:  {second}", "Some apples.", "No."),
        Spoken(None, f"[agent_2]: {second} [agent_1]: Some apples.", "How nice.", "No."),
        Spoken(None, f"[agent_1]: {TALKS[1][0]}", TALKS[1][1], "No."),
    ]
    assert group_conversations(rows) == [0, 0, 0, 1]


def test_stock_rejected_responses_join_nothing_and_rare_ones_do() -> None:
    stock = "There are many interesting historical aspects to consider"
    rows = [row._replace(rejected=stock) for row in rows_of_talks()]
    assert group_conversations(rows) == [0, 1, 2]
    assert group_conversations(rows[:2]) == [0, 0]
    short = [row._replace(rejected="It varies.") for row in rows[:2]]
    assert group_conversations(short) == [0, 1]


def test_greetings_join_two_conversations_but_not_three() -> None:
    rows = [row._replace(chosen="Hi, how are you?") for row in rows_of_talks()]
    assert group_conversations(rows) == [0, 1, 2]
    assert group_conversations(rows[1:]) == [0, 0]


MAXIM_COUNTS = st.dictionaries(
    st.sampled_from(["quantity", "quality", "unknown"]), st.integers(1, 20), min_size=1
)


@settings(max_examples=60)
@given(
    st.lists(MAXIM_COUNTS, min_size=2, max_size=30),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_neither_side_is_empty_and_the_share_is_near(
    groups: list[dict[str, int]], share: float, seed: int
) -> None:
    chosen = choose_heldout(groups, share, seed)
    assert 0 < len(chosen) < len(groups)
    assert chosen == choose_heldout(groups, share, seed)
    sizes = [sum(group.values()) for group in groups]
    held = sum(sizes[index] for index in chosen)
    # A group that is left out would have brought it no nearer, in the order of its draw.
    assert abs(held - share * sum(sizes)) <= max(sizes)


def test_every_maxim_is_held_out_where_it_can_be() -> None:
    groups: list[dict[str, int]] = [{"quantity": 10} for _ in range(18)]
    groups += [{"quality": 10}, {"quality": 10}]
    for seed in range(5):
        held: Counter[str] = Counter()
        for index in choose_heldout(groups, 0.1, seed):
            held.update(groups[index])
        assert held == {"quantity": 10, "quality": 10}


def test_seeds_give_different_splits() -> None:
    groups = [{"quantity": 5} for _ in range(40)]
    assert len({frozenset(choose_heldout(groups, 0.1, seed)) for seed in range(5)}) > 1


def test_one_conversation_cannot_be_split() -> None:
    with pytest.raises(SplitError, match="one conversation"):
        choose_heldout([{"quantity": 5}], 0.1, 0)


def pair(name: str, conversation: str, context: str, chosen: str, rejected: str) -> PreferencePair:
    prompt = make_prompt(context, "FS1")
    return PreferencePair(name, conversation, prompt, chosen, rejected, "unknown", "test")


def test_every_kind_of_leak_is_counted() -> None:
    long = "we have talked about this at length"
    training = [
        pair("1", "a", f"[agent_1]: {long}", "Yes, Sir", "It varies."),
        pair("2", "b", "[agent_1]: Hello", "Good day to you", "Well, yes."),
    ]
    heldout = [
        pair("3", "c", f"[agent_2]: Hm. [agent_1]: {long.upper()}", "Quite so", "It  varies."),
        pair("4", "d", "[agent_1]: Other", "yes, sir", "good day to you"),
        pair("5", "b", "[agent_1]: Hello", "Well, yes.", "No"),
    ]
    split = PairSplit(training, heldout)
    check = check_leaks(split)
    assert check.leaks == {
        "shared_conversations": 1,
        "shared_prompts": 1,
        "shared_contexts": 1,
        "shared_chosen": 1,
        "shared_utterances": 1,
    }
    assert check.crossed_responses == 2
    assert (check.shared_rejected, check.heldout_pairs_with_shared_rejected) == (1, 1)
    assert find_repeats(split) == {"4", "5"}
