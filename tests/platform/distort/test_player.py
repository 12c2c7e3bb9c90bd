"""Dialogues in batches: who says what does not depend on the batch, and every score is true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from parley.envs.dialogue.rules import Dialogue
from parley.platform.distort.player import (
    EVALUATION,
    TRAINING,
    DialoguePlayer,
    FaultyModelError,
    SeatModels,
)
from parley.platform.distort.record import PlayedDialogue
from parley.policies.dialogue.sampling import Sampling, truncated_log_probs
from tests.platform.distort.dialogue_fixtures import (
    COMPETITOR,
    END,
    LIMIT,
    PLAIN,
    SAMPLINGS,
    SEED,
    draw_openers,
    make_cast,
    make_model,
    make_policy,
    make_settings,
    pick,
    play,
    read_reply,
    score_reply,
    speak,
)

NARROW = {"window": 15, "max_turns": 9}
"""Room for two turns or three: histories lose their first turns again and again."""
NARROWEST = {"window": LIMIT + 1, "max_turns": 5}
"""Room for one reply; openers of up to six ids fit."""
Changes = dict[str, Any]


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-5)


def check_scores(
    dialogues: Sequence[PlayedDialogue],
    seat: str,
    judge: PreTrainedModel,
    start: PreTrainedModel,
) -> int:
    """Hold what is known of a seat's replies against teacher forcing; gives their number."""
    turns = [(dialogue, turn) for dialogue in dialogues for turn in dialogue.turns_of([seat])]
    for dialogue, turn in turns:
        assert turn.judge_log_probs is not None and turn.start_log_probs is not None
        assert_close(turn.judge_log_probs, score_reply(judge, dialogue, turn))
        assert_close(turn.start_log_probs, score_reply(start, dialogue, turn))
    return len(turns)


@pytest.mark.parametrize("start", [None, 2], ids=["judge_is_start", "other_start"])
@pytest.mark.parametrize(
    "changes",
    [{}, NARROW, {"max_turns": 1}, {"max_turns": 4}],
    ids=["wide", "narrow", "one", "four"],
)
def test_the_judge_scores_what_teacher_forcing_says(changes: Changes, start: int | None) -> None:
    """At every place where a reply can stand: before the judge's, at the end, after an ending."""
    policy = make_policy(0)
    dialogues = play(make_cast(policy, start=start), make_settings(**changes))
    judge = make_model(COMPETITOR)
    num_turns = check_scores(
        dialogues, "distorter", judge, judge if start is None else make_model(start)
    )
    assert num_turns >= 16
    for dialogue in dialogues:
        for turn in dialogue.turns_of(["competitor"]):
            assert turn.judge_log_probs is None and turn.start_log_probs is None


def test_dialogues_end_in_every_way() -> None:
    """What the other tests rely on: empty replies of both, closed ones, ones at the limit."""
    dialogues = play(make_cast(make_policy(0), num_rows=64), num_dialogues=64)
    last = [dialogue.turns[-1] for dialogue in dialogues]
    empty = {turn.seat for turn in last if turn.tokens.tolist() == [END]}
    assert empty == {"distorter", "competitor"}
    replies = [turn for dialogue in dialogues for turn in dialogue.turns]
    assert {turn.closed for turn in replies} == {True, False}
    assert any(len(dialogue.turns) == 5 for dialogue in dialogues)
    assert all(dialogue.terminated and not dialogue.truncated for dialogue in dialogues)


@pytest.mark.parametrize("changes", [{}, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_what_the_speaker_notes_is_what_a_plain_pass_says(name: str, changes: Changes) -> None:
    sampling, policy = SAMPLINGS[name], make_policy(0)
    dialogues = play(make_cast(policy, sampling), make_settings(**changes))
    for dialogue in dialogues:
        for turn in dialogue.turns_of(["distorter"]):
            logits, hidden = read_reply(policy.language_model, dialogue, turn)
            support = None if turn.support is None else torch.from_numpy(turn.support)
            drawn_from = truncated_log_probs(logits, support, sampling.temperature)
            assert_close(turn.log_probs, pick(drawn_from, turn.tokens))
            full = pick(logits.log_softmax(dim=-1), turn.tokens)
            assert_close(turn.full_log_probs, full)
            assert turn.values is not None
            with torch.no_grad():
                values = policy.value_head(hidden)[:, 0].numpy()
            assert_close(turn.values, values)


@pytest.mark.parametrize("start", [None, 2], ids=["judge_is_start", "other_start"])
@pytest.mark.parametrize("changes", [{}, NARROW, NARROWEST], ids=["wide", "narrow", "narrowest"])
@pytest.mark.parametrize("name", ["plain", "all"])
def test_the_divergence_from_the_start_is_exact_whatever_could_be_drawn(
    name: str, changes: Changes, start: int | None
) -> None:
    policy = make_policy(0)
    cast = make_cast(policy, SAMPLINGS[name], start=start)
    player = DialoguePlayer(make_settings(**changes), cast, SEED, EVALUATION)
    dialogues = player.play(range(16), [opener[:LIMIT] for opener in draw_openers(16)])
    player.compare_with_start(dialogues)
    began = make_model(COMPETITOR if start is None else start)
    num_turns = 0
    for dialogue in dialogues:
        assert all(turn.divergences is None for turn in dialogue.turns_of(["competitor"]))
        for turn in dialogue.turns_of(["distorter"]):
            own = read_reply(policy.language_model, dialogue, turn)[0].double().softmax(-1)
            other = read_reply(began, dialogue, turn)[0].double().softmax(-1)
            expected = [
                sum(float(p) * math.log(float(p) / float(q)) for p, q in zip(a, b, strict=True))
                for a, b in zip(own, other, strict=True)
            ]
            assert turn.divergences is not None and len(turn.divergences) == len(turn.tokens)
            assert_close(turn.divergences, expected)
            num_turns += 1
    assert num_turns >= 16


@pytest.mark.parametrize("changes", [{}, NARROW, NARROWEST], ids=["wide", "narrow", "narrowest"])
def test_a_policy_that_is_its_start_has_not_moved(changes: Changes) -> None:
    """The anchor compares two policies in one state, whatever dropped out of the window."""
    policy = make_policy(2)
    player = DialoguePlayer(make_settings(**changes), make_cast(policy, start=2), SEED, TRAINING)
    openers = [opener[:LIMIT] for opener in draw_openers(16)]
    dialogues = player.play(range(16), openers)
    player.compare_with_start(dialogues)
    for dialogue in dialogues:
        for turn in dialogue.turns_of(["distorter"]):
            assert_close(turn.full_log_probs, turn.start_log_probs)
            assert turn.divergences is not None
            assert (turn.divergences >= 0.0).all() and turn.divergences.max() < 1e-5


@pytest.mark.parametrize("changes", [{}, NARROW], ids=["wide", "narrow"])
def test_records_are_the_dialogue_that_the_rules_tell(changes: Changes) -> None:
    settings = make_settings(**changes)
    for dialogue in play(make_cast(make_policy(0)), settings):
        game = Dialogue(settings, dialogue.opener)
        for turn in dialogue.turns:
            assert turn.seat == game.next_seat
            history = game.history().tokens
            assert (turn.history_start, turn.start) == (
                game.num_tokens - len(history),
                game.num_tokens,
            )
            assert turn.closed == (turn.tokens[-1] == END)
            game.say(turn.tokens)
        np.testing.assert_array_equal(dialogue.tokens, game.full_history().tokens)
        assert (dialogue.terminated, dialogue.truncated) == (game.terminated, game.truncated)
        assert game.over


def said(dialogues: Sequence[PlayedDialogue]) -> dict[int, list[list[int]]]:
    """Dialogue number -> its replies."""
    return {d.number: [turn.tokens.tolist() for turn in d.turns] for d in dialogues}


def assert_same(one: Sequence[PlayedDialogue], other: Sequence[PlayedDialogue]) -> None:
    """The same ids, and scores that differ by rounding alone."""
    assert said(one) == said(other)
    by_number = {dialogue.number: dialogue for dialogue in other}
    for dialogue in one:
        for turn, twin in zip(dialogue.turns, by_number[dialogue.number].turns, strict=True):
            for name in ("log_probs", "full_log_probs", "entropies", "judge_log_probs"):
                first, second = getattr(turn, name), getattr(twin, name)
                assert (first is None) == (second is None)
                if first is not None:
                    assert_close(first, second)


@pytest.mark.parametrize("changes", [{}, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", ["plain", "all"])
def test_a_batch_says_what_its_dialogues_say_alone(name: str, changes: Changes) -> None:
    settings, cast = make_settings(**changes), make_cast(make_policy(0), SAMPLINGS[name])
    player = DialoguePlayer(settings, cast, SEED, TRAINING)
    openers = draw_openers(16)
    together = player.play(range(16), openers)
    alone = [player.play([number], [openers[number]])[0] for number in range(16)]
    assert_same(together, alone)


def test_a_dialogue_does_not_depend_on_its_neighbours() -> None:
    cast, openers = make_cast(make_policy(0)), draw_openers(16)
    player = DialoguePlayer(make_settings(), cast, SEED, TRAINING)
    together = player.play(range(16), openers)
    chosen = [11, 3, 14, 0, 7]
    some = player.play(chosen, [openers[number] for number in chosen])
    assert [dialogue.number for dialogue in some] == chosen
    assert_same(some, [together[number] for number in chosen])


def test_seed_purpose_and_number_decide_what_is_said() -> None:
    cast = make_cast(make_policy(0), Sampling(max_reply_tokens=LIMIT, min_reply_tokens=3))
    opener = draw_openers(1)
    plays = {
        (seed, purpose, number): DialoguePlayer(make_settings(), cast, seed, purpose).play(
            [number], opener
        )
        for seed in (1, 2)
        for purpose in (TRAINING, EVALUATION)
        for number in (0, 1)
    }
    spoken = {tuple(map(tuple, said(played)[key[2]])) for key, played in plays.items()}
    assert len(spoken) == len(plays)


def three_seats(num_rows: int, judge_sits: bool = True) -> SeatModels:
    """Two that learn, and a judge that sits with them or somebody else in its place."""
    judge = speak(make_model(COMPETITOR), PLAIN, num_rows)
    second = make_policy(4)
    seats = {
        "anna": speak(make_model(5), PLAIN, num_rows, make_policy(5).value_head),
        "ben": speak(second.language_model, PLAIN, num_rows, second.value_head),
        "carl": judge if judge_sits else speak(make_model(7), PLAIN, num_rows),
    }
    return SeatModels(seats, judge, {"anna": speak(make_model(2), PLAIN, num_rows), "ben": judge})


@pytest.mark.parametrize("judge_sits", [True, False])
@pytest.mark.parametrize("changes", [{"max_turns": 7}, NARROW], ids=["wide", "narrow"])
def test_two_learn_beside_a_judge(changes: Changes, judge_sits: bool) -> None:
    """The judge speaks after one of the two, and in the second case not at all."""
    settings = make_settings(("anna", "ben", "carl"), **changes)
    dialogues = play(three_seats(16, judge_sits), settings)
    assert check_scores(dialogues, "anna", make_model(COMPETITOR), make_model(2)) >= 16
    assert check_scores(dialogues, "ben", make_model(COMPETITOR), make_model(COMPETITOR)) >= 10


def test_one_talks_to_itself_and_the_judge_listens() -> None:
    policy, judge = make_policy(0), speak(make_model(COMPETITOR), PLAIN, 16)
    cast = SeatModels(
        {"distorter": speak(policy.language_model, PLAIN, 16, policy.value_head)},
        judge,
        {"distorter": judge},
    )
    dialogues = play(cast, make_settings(("distorter",), **NARROW))
    assert check_scores(dialogues, "distorter", make_model(COMPETITOR), make_model(COMPETITOR)) > 16


def test_a_past_self_in_the_judge_s_seat_does_not_judge() -> None:
    cast = make_cast(make_policy(0))
    seats = dict(cast.seats) | {"competitor": speak(make_model(7), PLAIN, 16)}
    dialogues = play(SeatModels(seats, cast.judge, cast.starts))
    assert (
        check_scores(dialogues, "distorter", make_model(COMPETITOR), make_model(COMPETITOR)) >= 16
    )


def test_the_window_may_fill_the_models_context() -> None:
    """The longest history, the longest reply and an end token that nobody drew."""
    settings = make_settings(window=160 - LIMIT - 1, max_turns=60)
    sampling = Sampling(max_reply_tokens=LIMIT, min_reply_tokens=LIMIT)
    dialogues = play(make_cast(make_policy(0), sampling, 4, start=2), settings, 4)
    assert all(len(dialogue.tokens) > 2 * settings.window for dialogue in dialogues)
    check_scores(dialogues, "distorter", make_model(COMPETITOR), make_model(2))


@pytest.mark.parametrize("broken", ["distorter", "competitor"])
def test_a_broken_model_is_named_with_the_dialogue(broken: str) -> None:
    """One word's embedding is enough: it is an output weight too."""
    policy, competitor = make_policy(0), make_model(COMPETITOR)
    judge = speak(competitor, PLAIN, 16)
    distorter = speak(policy.language_model, PLAIN, 16, policy.value_head)
    cast = SeatModels({"distorter": distorter, "competitor": judge}, judge, {"distorter": judge})
    with torch.no_grad():
        model = policy.language_model if broken == "distorter" else competitor
        model.get_output_embeddings().weight[5] = torch.nan
    with pytest.raises(FaultyModelError) as caught:
        play(cast)
    fault = caught.value.fault
    assert fault.seat == broken
    assert fault.turn == (0 if broken == "distorter" else 1)
    assert len(fault.dialogues) > 0
    for dialogue in fault.dialogues:
        assert len(dialogue.turns) == fault.turn
        assert len(dialogue.tokens) > len(dialogue.opener)
