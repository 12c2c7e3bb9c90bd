"""Credit of tokens against plain loops, and rows that hold just what was said and seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from parley.envs.dialogue.reward import ReplyReward
from parley.platform.distort.batch import NO_TOKEN, SUPPORT, make_rows, stretches_of
from parley.platform.distort.player import SeatModels
from parley.platform.distort.record import PlayedDialogue, PlayedTurn
from parley.platform.engine.rllib.gradients.policy_gradient import (
    ACTIONS,
    ADVANTAGES,
    LOG_PROBS,
    VALUE_TARGETS,
    VALUES,
    Credit,
)
from parley.policies.dialogue.speaker import Speaker
from parley.policies.rows import POSITIONS, TOKENS, VALID
from tests.platform.distort.dialogue_fixtures import (
    COMPETITOR,
    END,
    SAMPLINGS,
    draw_rewards,
    make_cast,
    make_model,
    make_policy,
    make_settings,
    play,
)
from tests.platform.engine.rllib.gradient_fixtures import make_ppo, make_reinforce

Changes = dict[str, Any]
Columns = dict[str, NDArray[Any]]

GAMMA, LAMBDA = 0.9, 0.8
NARROW: Changes = {"window": 20, "max_turns": 9}
"""Histories lose turns, so that dialogues become several rows."""
BUDGET: Changes = {"max_dialogue_tokens": 22}
"""Most dialogues are truncated."""
SEAT = "distorter"


def credit_by_gae(
    dialogues: list[PlayedDialogue], seat: str, rewards: list[list[ReplyReward]]
) -> Credit:
    gradient = make_ppo(gamma=GAMMA, gae_lambda=LAMBDA)
    return gradient.credit(stretches_of(dialogues, seat, rewards))


def play_some(name: str = "plain", **changes: Any) -> list[PlayedDialogue]:
    return play(make_cast(make_policy(0), SAMPLINGS[name]), make_settings(**changes))


def known(turn: PlayedTurn) -> list[float]:
    assert turn.values is not None
    values: list[float] = turn.values.tolist()
    return values


def estimate_slowly(
    dialogue: PlayedDialogue, rewards: list[ReplyReward]
) -> tuple[list[float], list[float]]:
    """Advantages and value targets of a seat's tokens, by the sum over all that follow."""
    earned = [float(r) for reward in rewards for r in reward.tokens]
    values = [value for turn in dialogue.turns_of([SEAT]) for value in known(turn)]
    after = [*values[1:], values[-1] if dialogue.truncated else 0.0]
    deltas = [r + GAMMA * v1 - v0 for r, v1, v0 in zip(earned, after, values, strict=True)]
    advantages = [
        sum((GAMMA * LAMBDA) ** (k - t) * deltas[k] for k in range(t, len(deltas)))
        for t in range(len(deltas))
    ]
    return advantages, [a + v for a, v in zip(advantages, values, strict=True)]


@pytest.mark.parametrize("changes", [{}, BUDGET, NARROW], ids=["terminated", "truncated", "narrow"])
def test_gae_is_a_sum_over_the_agents_own_tokens(changes: Changes) -> None:
    dialogues = play_some(**changes)
    if changes is BUDGET:
        assert {dialogue.truncated for dialogue in dialogues} == {True, False}
    rewards = draw_rewards(dialogues, SEAT)
    credit = credit_by_gae(dialogues, SEAT, rewards)
    slow = [estimate_slowly(*pair) for pair in zip(dialogues, rewards, strict=True)]
    advantages = np.array([value for pair in slow for value in pair[0]])
    expected = (advantages - advantages.mean()) / advantages.std()
    np.testing.assert_allclose(np.concatenate(credit[ADVANTAGES]), expected, atol=1e-4)
    targets = [value for pair in slow for value in pair[1]]
    np.testing.assert_allclose(np.concatenate(credit[VALUE_TARGETS]), targets, atol=1e-4)
    lengths = [len(turn.tokens) for dialogue in dialogues for turn in dialogue.turns_of([SEAT])]
    assert [len(part) for part in credit[ADVANTAGES]] == lengths
    assert [len(part) for part in credit[VALUE_TARGETS]] == lengths


def test_advantages_are_whitened_over_all_tokens() -> None:
    dialogues = play_some()
    credit = credit_by_gae(dialogues, SEAT, draw_rewards(dialogues, SEAT))
    advantages = np.concatenate(credit[ADVANTAGES]).astype(np.float64)
    assert advantages.mean() == pytest.approx(0.0, abs=1e-5)
    assert advantages.std() == pytest.approx(1.0, abs=1e-4)


def test_a_seat_that_said_nothing_in_a_dialogue_gets_no_credit_there() -> None:
    dialogues = play_some()
    silent = [d for d in dialogues if not d.turns_of(["competitor"])]
    assert silent
    for dialogue in dialogues:
        for turn in dialogue.turns_of(["competitor"]):
            turn.values = np.zeros(len(turn.tokens), np.float32)
    rewards = draw_rewards(dialogues, "competitor")
    credit = credit_by_gae(dialogues, "competitor", rewards)
    rows = make_rows(dialogues, "competitor", credit, np.random.default_rng(0))
    assert len(rows[TOKENS]) == len(dialogues) - len(silent)


@pytest.mark.parametrize("num_dialogues", [1, 2, 16])
def test_returns_are_compared_with_those_of_the_other_dialogues(num_dialogues: int) -> None:
    dialogues = play_some()[:num_dialogues]
    rewards = draw_rewards(dialogues, SEAT)
    credit = make_reinforce().credit(stretches_of(dialogues, SEAT, rewards))
    expected: list[list[float]] = []
    for i, own in enumerate(rewards):
        for k in range(len(own)):
            others = []
            for j, other in enumerate(rewards):
                if j != i and len(other) > k:
                    others.append(sum(reward.total for reward in other[k:]))
            gained = sum(reward.total for reward in own[k:])
            advantage = gained - sum(others) / len(others) if others else 0.0
            expected.append([advantage] * len(own[k].tokens))
    assert [len(part) for part in credit[ADVANTAGES]] == [len(part) for part in expected]
    for part, slow in zip(credit[ADVANTAGES], expected, strict=True):
        np.testing.assert_allclose(part, slow, atol=1e-4)
    assert credit.keys() == {ADVANTAGES}


def make_columns(dialogues: list[PlayedDialogue], order: int = 0) -> tuple[Columns, Columns]:
    """The rows of a batch in random order, and the credit of all its tokens."""
    rewards = draw_rewards(dialogues, SEAT)
    credit = credit_by_gae(dialogues, SEAT, rewards)
    flat = {key: np.concatenate(parts) for key, parts in credit.items()}
    return make_rows(dialogues, SEAT, credit, np.random.default_rng(order)), flat


CASES = [("plain", {}), ("plain", NARROW), ("all", {}), ("all", NARROW), ("top_p", BUDGET)]
IDS = ["wide", "narrow", "truncated_draws", "narrow_truncated_draws", "budget"]


@pytest.mark.parametrize(("name", "changes"), CASES, ids=IDS)
def test_each_drawn_token_stands_behind_its_position(name: str, changes: Changes) -> None:
    """The last token of a row too: the row ends with it."""
    rows, _ = make_columns(play_some(name, **changes))
    valid = rows[VALID]
    for tokens, positions, drawn, mask in zip(
        rows[TOKENS], rows[POSITIONS], rows[ACTIONS], valid, strict=True
    ):
        assert mask[: mask.sum()].all()  # padded behind
        np.testing.assert_array_equal(tokens[positions[mask] + 1], drawn[mask])
        assert (np.diff(positions[mask]) > 0).all()
        assert (positions[mask] >= 0).all()
        assert not tokens[positions[mask][-1] + 2 :].any()  # nothing but padding (id 0)
    assert valid.any(axis=0).all()
    assert rows[TOKENS].dtype == rows[POSITIONS].dtype == rows[ACTIONS].dtype == np.int64
    for key in (LOG_PROBS, VALUES, ADVANTAGES, VALUE_TARGETS):
        assert rows[key].dtype == np.float32
        assert rows[key].shape == valid.shape
        assert not rows[key][~valid].any()


@pytest.mark.parametrize(("name", "changes"), CASES, ids=IDS)
def test_every_reply_is_in_one_row_with_the_history_that_its_speaker_saw(
    name: str, changes: Changes
) -> None:
    dialogues = play_some(name, **changes)
    rows, flat = make_columns(dialogues)
    found: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for row in range(len(rows[TOKENS])):
        mask = rows[VALID][row]
        for column in np.flatnonzero(mask):
            seen = rows[TOKENS][row, : rows[POSITIONS][row, column] + 2].tolist()
            figures = {key: rows[key][row, column].item() for key in (LOG_PROBS, VALUES)}
            figures |= {key: rows[key][row, column].item() for key in flat}
            if SUPPORT in rows:
                support = rows[SUPPORT][row, column]
                figures["support"] = sorted(support[support != NO_TOKEN].tolist())
            found.setdefault(tuple(seen), []).append(figures)
    place = 0
    for dialogue in dialogues:
        for turn in dialogue.turns_of([SEAT]):
            for t in range(len(turn.tokens)):
                stop = turn.start + t + 1
                seen = tuple(dialogue.tokens[turn.history_start : stop].tolist())
                expected: dict[str, Any] = {
                    LOG_PROBS: turn.log_probs[t].item(),
                    VALUES: known(turn)[t],
                    **{key: column[place].item() for key, column in flat.items()},
                }
                if turn.support is not None:
                    support = turn.support[t]
                    expected["support"] = sorted(support[support != NO_TOKEN].tolist())
                assert expected in found[seen]
                found[seen].remove(expected)
                place += 1
    assert not any(found.values())
    assert place == rows[VALID].sum()


def test_a_dialogue_is_one_row_unless_its_window_moved() -> None:
    wide, narrow = play_some(), play_some(**NARROW)
    assert len(make_columns(wide)[0][TOKENS]) == len(wide)
    rows, _ = make_columns(narrow)
    starts = [{turn.history_start for turn in d.turns_of([SEAT])} for d in narrow]
    assert max(map(len, starts)) > 1
    assert len(rows[TOKENS]) == sum(map(len, starts))
    longest = NARROW["window"] + make_settings().max_reply_tokens
    assert rows[TOKENS].shape[1] <= longest


def test_the_order_of_rows_is_all_that_chance_decides() -> None:
    dialogues = play_some("all")
    one, again, other = (make_columns(dialogues, order)[0] for order in (0, 0, 1))
    assert all((one[key] == again[key]).all() for key in one)
    assert (one[TOKENS] != other[TOKENS]).any()

    def in_order(rows: Columns) -> list[bytes]:
        return sorted(
            b"".join(rows[key][row].tobytes() for key in sorted(rows))
            for row in range(len(rows[TOKENS]))
        )

    assert in_order(one) == in_order(other)


def test_columns_are_those_that_the_sampling_and_the_credit_call_for() -> None:
    base = {TOKENS, POSITIONS, VALID, ACTIONS, LOG_PROBS, VALUES, ADVANTAGES}
    assert make_columns(play_some())[0].keys() == base | {VALUE_TARGETS}
    dialogues = play_some("top_k")
    stretches = stretches_of(dialogues, SEAT, draw_rewards(dialogues, SEAT))
    credit = make_reinforce().credit(stretches)
    rows = make_rows(dialogues, SEAT, credit, np.random.default_rng(0))
    assert rows.keys() == base | {SUPPORT}
    assert rows[SUPPORT].shape == (*rows[VALID].shape, 50)
    assert (rows[SUPPORT][~rows[VALID]] == NO_TOKEN).all()
    drawn = rows[ACTIONS][..., None]
    assert (rows[SUPPORT] == drawn).any(axis=-1)[rows[VALID]].all()


@pytest.mark.parametrize("changes", [{}, NARROW], ids=["wide", "narrow"])
@torch.no_grad()
def test_rows_begin_with_what_the_model_read_before_every_history(changes: Changes) -> None:
    """A plain pass over a row gives the log-probabilities that the speaker noted."""
    policy, beginning = make_policy(0), (7, 9)
    speakers = [
        Speaker(model, END, 16, SAMPLINGS["plain"], head, beginning)
        for model, head in (
            (policy.language_model, policy.value_head),
            (make_model(COMPETITOR), None),
        )
    ]
    seats = dict(zip((SEAT, "competitor"), speakers, strict=True))
    cast = SeatModels(seats, speakers[1], {SEAT: speakers[1]})
    dialogues = play(cast, make_settings(**changes))
    for dialogue in dialogues:
        np.testing.assert_array_equal(dialogue.tokens[: len(dialogue.opener)], dialogue.opener)
    credit = credit_by_gae(dialogues, SEAT, draw_rewards(dialogues, SEAT))
    rows = make_rows(dialogues, SEAT, credit, np.random.default_rng(0), beginning)
    assert (rows[TOKENS][:, :2] == beginning).all()
    logits = policy.language_model(input_ids=torch.from_numpy(rows[TOKENS])).logits.log_softmax(-1)
    places = torch.from_numpy(rows[POSITIONS])
    drawn = torch.from_numpy(rows[ACTIONS])
    found = logits.gather(1, places[..., None].expand(-1, -1, logits.shape[-1]))
    found = found.gather(2, drawn[..., None])[..., 0].numpy()
    mask = rows[VALID]
    np.testing.assert_allclose(found[mask], rows[LOG_PROBS][mask], atol=1e-4)
