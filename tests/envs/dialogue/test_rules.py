from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from parley.envs.dialogue.rules import Dialogue, DialogueSettings, cut_reply

END = 9
SETTINGS = DialogueSettings(
    seats=("ann", "bob"), max_turns=4, max_reply_tokens=3, window=8, end_token=END, vocab_size=10
)


def test_one_dialogue_by_hand() -> None:
    dialogue = Dialogue(SETTINGS, [1, 2])
    seats = []
    for reply in ([3, END], [4, 5, 6], [7, 7, END]):
        seats.append(dialogue.next_seat)
        dialogue.say(reply)
    assert seats == ["ann", "bob", "ann"]
    assert [turn.speaker for turn in dialogue.turns] == ["opener", *seats]
    assert [turn.role for turn in dialogue.turns] == [0, 1, 2, 1]
    assert [turn.closed for turn in dialogue.turns] == [False, True, False, True]
    assert [turn.tokens.tolist() for turn in dialogue.turns] == [[1, 2], [3], [4, 5, 6], [7, 7]]
    whole = dialogue.full_history()
    assert whole.tokens.tolist() == [1, 2, END, 3, END, 4, 5, 6, END, 7, 7, END]
    # The end token after 4, 5, 6 was drawn by nobody.
    assert whole.roles.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 0, 1, 1, 1]
    assert dialogue.num_tokens == len(whole.tokens)
    # 3 END does not fit beside the 7 newer tokens into the window of 8: it goes as a whole.
    seen = dialogue.history()
    assert seen.tokens.tolist() == [4, 5, 6, END, 7, 7, END]
    assert seen.roles.tolist() == [2, 2, 2, 0, 1, 1, 1]
    assert whole.tokens.dtype == seen.tokens.dtype == np.int32
    assert whole.roles.dtype == seen.roles.dtype == np.int8


def test_the_first_history_is_the_opener() -> None:
    dialogue = Dialogue(SETTINGS, np.array([1, 2], dtype=np.int64))
    assert dialogue.history().tokens.tolist() == [1, 2, END]
    assert dialogue.history().roles.tolist() == [0, 0, 0]
    assert (dialogue.num_replies, dialogue.next_seat, dialogue.over) == (0, "ann", False)


def test_the_turn_limit_terminates() -> None:
    dialogue = Dialogue(SETTINGS, [1])
    for number in range(4):
        assert not dialogue.over
        assert dialogue.num_replies == number
        dialogue.say([2, END])
    assert dialogue.terminated
    assert not dialogue.truncated
    with pytest.raises(ValueError, match=r"terminated after 4 replies, 'ann' cannot speak"):
        dialogue.say([2, END])


def test_an_empty_reply_terminates_and_stays_in_the_history() -> None:
    dialogue = Dialogue(SETTINGS, [1])
    dialogue.say([2, END])
    turn = dialogue.say([END])
    assert turn.closed
    assert turn.tokens.size == 0
    assert dialogue.terminated
    assert not dialogue.truncated
    assert dialogue.full_history().tokens.tolist() == [1, END, 2, END, END]
    assert dialogue.full_history().roles.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(("budget", "num_replies"), [(5, 2), (6, 2), (7, 3), (99, 4)])
def test_the_budget_truncates_after_the_reply_that_reaches_it(
    budget: int, num_replies: int
) -> None:
    settings = dataclasses.replace(SETTINGS, max_dialogue_tokens=budget)
    dialogue = Dialogue(settings, [1])
    while not dialogue.over:
        dialogue.say([2, END])
    assert dialogue.num_replies == num_replies
    assert dialogue.truncated == (num_replies < SETTINGS.max_turns)
    assert dialogue.terminated == (num_replies == SETTINGS.max_turns)


def test_what_ends_by_the_rules_is_not_truncated_as_well() -> None:
    settings = dataclasses.replace(SETTINGS, max_dialogue_tokens=4, max_turns=1)
    for last in ([END], [2, END]):
        dialogue = Dialogue(settings, [1, 1])
        dialogue.say(last)
        assert dialogue.num_tokens >= 4
        assert dialogue.terminated
        assert not dialogue.truncated
    dialogue = Dialogue(dataclasses.replace(settings, max_turns=2), [1, 1])
    dialogue.say([2, END])
    assert dialogue.truncated
    with pytest.raises(ValueError, match="truncated after 1 replies"):
        dialogue.say([2])


def test_a_window_of_just_one_reply_shows_the_newest_turn() -> None:
    dialogue = Dialogue(dataclasses.replace(SETTINGS, window=4), [1])
    for reply in ([2, 2, 2], [3, 3, END], [4, END]):
        dialogue.say(reply)
    assert dialogue.history().tokens.tolist() == [4, END]
    dialogue = Dialogue(dataclasses.replace(SETTINGS, window=4), [1, 1])
    dialogue.say([2, 2, 2])
    assert dialogue.history().tokens.tolist() == [2, 2, 2, END]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ([], r"reply of 'ann' has no ids: an empty reply is the end token 9 alone"),
        ([1, END, 2], r"reply of 'ann' goes on after the end token 9 at position 1"),
        ([END, END], r"reply of 'ann' goes on after the end token 9 at position 0"),
        ([1, 2, 3, END], r"reply of 'ann' has 4 ids, max_reply_tokens allows 3"),
        ([1, 10], r"'ann' holds the id 10 at position 1: the vocabulary has 0 to 9"),
        ([-1], r"'ann' holds the id -1 at position 0: the vocabulary has 0 to 9"),
        ([2**40], r"'ann' holds the id 1099511627776"),
        ([1.0], r"'ann' must be one row of integer ids, got float64 of shape \(1,\)"),
        ([[1, 2]], r"'ann' must be one row of integer ids, got int64 of shape \(1, 2\)"),
        ([True], r"'ann' must be one row of integer ids, got bool"),
        (["a"], r"'ann' must be one row of integer ids"),
    ],
)
def test_refused_replies_leave_the_dialogue_as_it_was(reply: Any, message: str) -> None:
    dialogue = Dialogue(SETTINGS, [1])
    before = dialogue.state()
    with pytest.raises(ValueError, match=message):
        dialogue.say(reply)
    assert dialogue.state() == before
    dialogue.say([2])


@pytest.mark.parametrize(
    ("opener", "message"),
    [
        ([], "the opener has no ids: it must say something"),
        ([1, END], "the opener holds the end token 9 at position 1: give it without"),
        ([1, 10], "the opener holds the id 10 at position 1"),
        ([1.5], "the opener must be one row of integer ids"),
        (
            [1] * 8,
            "opener longer than the window: it has 9 tokens with its end token, the window holds "
            "8: shorten the opener or set window to at least 9",
        ),
    ],
)
def test_refused_openers(opener: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dialogue(SETTINGS, opener)


def test_an_opener_that_uses_up_the_budget_is_refused() -> None:
    settings = dataclasses.replace(SETTINGS, max_dialogue_tokens=4)
    Dialogue(settings, [1, 1])
    with pytest.raises(ValueError, match=r"4 tokens with its end token, of max_dialogue_tokens 4"):
        Dialogue(settings, [1, 1, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seats": ()}, "seats must be 1 to 127 agent ids, got 0"),
        ({"seats": tuple(map(str, range(128)))}, "seats must be 1 to 127 agent ids, got 128"),
        ({"seats": "ann"}, "seats must be a list of non-empty agent ids, got 'ann'"),
        ({"seats": ("ann", "")}, "seats must be a list of non-empty agent ids"),
        ({"seats": ("ann", "ann")}, r"got \['ann'\] more than once"),
        ({"seats": ("opener",)}, r"seats \['opener'\] have reserved names"),
        ({"seats": ("__all__",)}, r"seats \['__all__'\] have reserved names"),
        ({"max_turns": 0}, "max_turns must be an integer of at least 1, got 0"),
        ({"max_turns": 2.5}, "max_turns must be an integer of at least 1, got 2.5"),
        ({"max_reply_tokens": 0}, "max_reply_tokens must be an integer of at least 1, got 0"),
        ({"max_reply_tokens": True}, "max_reply_tokens must be an integer"),
        ({"window": 0}, "window must be an integer of at least 1"),
        ({"window": 3}, "window 3 cannot hold one reply of max_reply_tokens 3.*at least 4"),
        ({"end_token": -1}, "end_token must be an integer of at least 0, got -1"),
        ({"end_token": 10}, "end_token must be below vocab_size 10, got 10"),
        ({"vocab_size": 1}, "vocab_size must be an integer of at least 2, got 1"),
        ({"max_dialogue_tokens": 0}, "max_dialogue_tokens must be an integer of at least 1"),
    ],
)
def test_refused_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **change)


def test_seats_may_come_as_a_list() -> None:
    assert dataclasses.replace(SETTINGS, seats=["ann", "bob"]) == SETTINGS  # type: ignore[arg-type]
    assert [SETTINGS.role(seat) for seat in SETTINGS.seats] == [1, 2]


def test_a_state_survives_json() -> None:
    dialogue = Dialogue(SETTINGS, [1, 2])
    for reply in ([3, END], [4, 5, 6], [END]):
        copy = Dialogue.from_state(json.loads(json.dumps(dialogue.state())))
        for one, other in zip(dialogue.full_history(), copy.full_history(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert (copy.next_seat, copy.over) == (dialogue.next_seat, dialogue.over)
        assert copy.settings == dialogue.settings
        dialogue.say(reply)
    assert Dialogue.from_state(dialogue.state()).terminated


def test_turns_cannot_be_changed_from_outside() -> None:
    opener, reply = np.array([1, 2]), np.array([3, END])
    dialogue = Dialogue(SETTINGS, opener)
    turn = dialogue.say(reply)
    opener[:], reply[:] = 5, 5
    dialogue.history().tokens[:] = 5
    dialogue.full_history().roles[:] = 5
    assert dialogue.full_history().tokens.tolist() == [1, 2, END, 3, END]
    assert dialogue.full_history().roles.tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        turn.tokens[0] = 5


@pytest.mark.parametrize(
    ("ids", "reply"),
    [([1, 2, 3], [1, 2, 3]), ([1, END, 3], [1, END]), ([END, END], [END]), ([1, END], [1, END])],
)
def test_a_reply_is_cut_behind_its_first_end_token(ids: list[int], reply: list[int]) -> None:
    assert cut_reply(np.array(ids), END).tolist() == reply
