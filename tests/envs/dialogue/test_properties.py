"""Random play, and what must hold of every dialogue whatever its settings and its replies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from parley.envs.dialogue.rules import Dialogue, DialogueSettings, History

NUM_DIALOGUES = 300


def draw_settings(generator: np.random.Generator) -> DialogueSettings:
    vocab_size = int(generator.integers(2, 12))
    max_reply_tokens = int(generator.integers(1, 7))
    return DialogueSettings(
        seats=tuple(f"seat_{seat}" for seat in range(generator.integers(1, 5))),
        max_turns=int(generator.integers(1, 12)),
        max_reply_tokens=max_reply_tokens,
        window=max_reply_tokens + 1 + int(generator.integers(0, 20)),
        end_token=int(generator.integers(vocab_size)),
        vocab_size=vocab_size,
        max_dialogue_tokens=int(generator.integers(20, 60)) if generator.random() < 0.5 else None,
    )


def draw_words(generator: np.random.Generator, settings: DialogueSettings, most: int) -> list[int]:
    """Give 1 to `most` ids that are no end token."""
    ids = generator.integers(0, settings.vocab_size - 1, generator.integers(1, most + 1))
    return [int(i) + (i >= settings.end_token) for i in ids]


def draw_reply(generator: np.random.Generator, settings: DialogueSettings) -> list[int]:
    if generator.random() < 0.05:
        return [settings.end_token]
    words = draw_words(generator, settings, settings.max_reply_tokens)
    if len(words) < settings.max_reply_tokens and generator.random() < 0.8:
        words.append(settings.end_token)
    return words


def play(seed: int) -> Iterator[tuple[Dialogue, list[int], list[list[int]]]]:
    """Give a dialogue after its opener and after each reply, with what was said as drawn."""
    generator = np.random.default_rng(seed)
    settings = draw_settings(generator)
    opener = draw_words(generator, settings, min(settings.window - 1, 15))
    dialogue = Dialogue(settings, opener)
    replies: list[list[int]] = []
    yield dialogue, opener, replies
    while not dialogue.over:
        replies.append(draw_reply(generator, settings))
        dialogue.say(replies[-1])
        yield dialogue, opener, replies


def write_out(
    settings: DialogueSettings, opener: list[int], replies: list[list[int]]
) -> tuple[list[int], list[int], list[int]]:
    """Give ids, roles and the starts of the turns, in the plainest way."""
    ids, roles, starts = [*opener, settings.end_token], [0] * (len(opener) + 1), [0]
    for number, reply in enumerate(replies):
        starts.append(len(ids))
        ids += reply
        roles += [number % len(settings.seats) + 1] * len(reply)
        if reply[-1] != settings.end_token:
            ids.append(settings.end_token)
            roles.append(0)
    return ids, roles, starts


def as_lists(history: History) -> tuple[list[int], list[int]]:
    return history.tokens.tolist(), history.roles.tolist()


def test_ids_and_roles_are_exact_end_to_end() -> None:
    for seed in range(NUM_DIALOGUES):
        for dialogue, opener, replies in play(seed):
            ids, roles, _ = write_out(dialogue.settings, opener, replies)
            assert as_lists(dialogue.full_history()) == (ids, roles)
            assert dialogue.num_tokens == len(ids)
            assert dialogue.num_replies == len(replies)


def test_the_window_is_the_longest_run_of_whole_turns_that_fits() -> None:
    num_dropped = 0
    for seed in range(NUM_DIALOGUES):
        for dialogue, opener, replies in play(seed):
            window = dialogue.settings.window
            ids, roles, starts = write_out(dialogue.settings, opener, replies)
            first = next(start for start in starts if len(ids) - start <= window)
            assert as_lists(dialogue.history()) == (ids[first:], roles[first:])
            assert 0 < len(dialogue.history().tokens) <= window
            num_dropped += first > 0
    assert num_dropped > NUM_DIALOGUES


def test_the_drawn_ids_can_be_read_off_the_roles() -> None:
    """Where the learner's mask comes from: role r marks what seat r - 1 drew, no more, no less."""
    for seed in range(NUM_DIALOGUES):
        *_, (dialogue, _, replies) = play(seed)
        history, num_seats = dialogue.full_history(), len(dialogue.settings.seats)
        for seat in range(num_seats):
            drawn = [token for reply in replies[seat::num_seats] for token in reply]
            assert history.tokens[history.roles == seat + 1].tolist() == drawn


def test_a_dialogue_ends_for_one_reason_and_no_sooner() -> None:
    reasons = set()
    for seed in range(NUM_DIALOGUES):
        states = [(d.terminated, d.truncated, d.num_tokens, d.num_replies) for d, *_ in play(seed)]
        assert not any(terminated or truncated for terminated, truncated, *_ in states[:-1])
        *_, (dialogue, _, replies) = play(seed)
        settings = dialogue.settings
        budget = settings.max_dialogue_tokens or np.inf
        assert all(num_tokens < budget for _, _, num_tokens, _ in states[:-1])
        empty = replies[-1] == [settings.end_token]
        full = len(replies) == settings.max_turns
        assert dialogue.terminated == (empty or full)
        assert dialogue.truncated == (not (empty or full) and dialogue.num_tokens >= budget)
        assert dialogue.over
        reasons.add("empty" if empty else "full" if full else "budget")
    assert reasons == {"empty", "full", "budget"}


def test_seats_speak_in_turn() -> None:
    for seed in range(NUM_DIALOGUES):
        *_, (dialogue, _, _) = play(seed)
        seats = dialogue.settings.seats
        for number, turn in enumerate(dialogue.turns[1:]):
            assert turn.speaker == seats[number % len(seats)]
            assert turn.role == dialogue.settings.role(turn.speaker)
        assert dialogue.next_seat == seats[dialogue.num_replies % len(seats)]


def test_a_state_brings_back_every_moment() -> None:
    for seed in range(0, NUM_DIALOGUES, 10):
        for dialogue, *_ in play(seed):
            copy = Dialogue.from_state(dialogue.state())
            assert as_lists(copy.full_history()) == as_lists(dialogue.full_history())
            assert as_lists(copy.history()) == as_lists(dialogue.history())
            assert (copy.terminated, copy.truncated) == (dialogue.terminated, dialogue.truncated)


@pytest.mark.parametrize("module", ["rules", "openers", "aec"])
def test_imports_load_neither_ray_nor_torch(module: str) -> None:
    code = (
        f"import sys, parley.envs.dialogue.{module};"
        "print([m for m in ('ray', 'torch', 'transformers') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
