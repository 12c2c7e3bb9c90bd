"""What the judge measures on a reply: order, echoes, courtesy, repetition; and probabilities."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from parley.envs.dialogue.smalltalk import generate_dialogues
from parley.platform.maxims.judge.courtesy import count_discourtesy
from parley.platform.maxims.judge.diversity import (
    LEAST_SHARE,
    MIN_ROWS,
    blank_context,
    find_usual_share,
    measure_repetition,
)
from parley.platform.maxims.judge.human_calibration import SIGNALS, Calibration
from parley.platform.maxims.judge.reply_measures import measure_surface
from parley.platform.maxims.judge.word_order import TrigramOrder, classify
from parley.platform.maxims.text.exchange import MAXIMS, Exchange


@pytest.fixture(scope="module")
def order() -> TrigramOrder:
    return TrigramOrder.learn(turn for talk in generate_dialogues(800, seed=1) for turn in talk)


def test_shuffled_words_have_no_order(order: TrigramOrder) -> None:
    rng = Random(0)
    turns = [t for talk in generate_dialogues(60, seed=2) for t in talk if len(t.split()) > 5]
    shuffled = [" ".join(rng.sample(turn.split(), len(turn.split()))) for turn in turns]
    said, salad = order.measure(turns).order_gain, order.measure(shuffled).order_gain
    assert (said > np.quantile(salad, 0.95)).mean() > 0.9


def test_order_is_measured_alike_alone_and_among_others(order: TrigramOrder) -> None:
    replies = ["I like to cook with my friends.", "hm", "", "Do you like to cook, too?"]
    together = order.measure(replies)
    assert np.isnan(together.order_gain[[1, 2]]).all()
    assert np.isnan(together.ending[2])
    for number, reply in enumerate(replies):
        alone = order.measure([reply])
        assert np.array_equal(alone.order_gain, together.order_gain[[number]], equal_nan=True)
        assert np.array_equal(alone.ending, together.ending[[number]], equal_nan=True)


def test_a_reply_that_stops_in_the_middle_ends_surprisingly(order: TrigramOrder) -> None:
    whole, cut = order.measure(["I like to cook with my friends.", "I like to"]).ending
    assert cut > whole + 1


def test_word_order_comes_back_from_its_arrays(order: TrigramOrder) -> None:
    again = TrigramOrder(order.vocabulary, order.tokens, order.offsets)
    reply = ["What do you do on weekends?"]
    assert again.measure(reply).order_gain == order.measure(reply).order_gain


def test_rare_words_share_classes() -> None:
    assert [classify(word, {"the"}) for word in ("the", "running", "1,200", "\u20ac")] == [
        "the",
        "#ng",
        "#number",
        "#mark",
    ]


TURNS = ["My dog always loves the cold water.", "Jazz began in New Orleans around 1900."]


def test_an_echo_is_counted_by_triples() -> None:
    assert measure_surface(TURNS, "", TURNS[0]).echo == 1.0
    assert measure_surface(TURNS, "", "Well, jazz began in New York.").echo == pytest.approx(2 / 4)
    assert measure_surface(TURNS, "", "The water is too warm for me today.").echo == 0.0
    assert measure_surface(TURNS, "", "in New Orleans").echo == 0.0


def test_repetition_length_and_emptiness() -> None:
    surface = measure_surface(TURNS, "", "I see a whale I see a whale")
    assert surface.repetition == pytest.approx(3 / 7)
    assert surface.length == 8
    assert measure_surface(TURNS, "", "whale whale whale").dwelling == pytest.approx(2 / 3)
    assert [measure_surface(TURNS, "", reply).emptiness for reply in ("", "?!", "ok")] == [1, 1, 0]


def test_claims_count_unless_the_evidence_has_them() -> None:
    reply = "Studies show that 40% of dogs swim."
    assert measure_surface(TURNS, "", reply).claims == 2
    assert measure_surface(TURNS, "According to studies, 40% swim", reply).claims == 0


@pytest.mark.parametrize(
    ("reply", "opposed"),
    [
        ("Your dog never loves the cold water.", True),
        ("Your dog does not love cold water.", True),
        ("Jazz did not begin in New Orleans.", True),
        ("Cold water is what my dog loves, too.", False),
        ("I do not like cats.", False),
    ],
)
def test_opposition_needs_the_same_subject(reply: str, opposed: bool) -> None:
    assert (measure_surface(TURNS, "", reply).opposition > 0) == opposed


def test_courtesy() -> None:
    assert count_discourtesy("What a great book, I love it!") == 0
    assert count_discourtesy("You idiot, I don\u2019t care") == pytest.approx(2 / 5)


def make_rows(replies: list[str]) -> list[Exchange]:
    return [Exchange(f"[agent_1]: I saw film{n}x", "", reply) for n, reply in enumerate(replies)]


def test_a_stock_reply_shows_only_in_a_set() -> None:
    stock = "That sounds nice!"
    assert not measure_repetition(make_rows([stock] * (MIN_ROWS - 1))).any()
    assert (measure_repetition(make_rows([stock] * MIN_ROWS)) > 0.9).all()
    replies = [f"answer {n} of {n * n}" for n in range(300)]
    replies[5] = replies[100] = replies[200] = stock
    assert measure_repetition(make_rows(replies)).max() < 0.5


def test_what_people_repeat_is_usual() -> None:
    replies = ["Yes."] * 40 + [f"answer {n} of {n * n}" for n in range(60)]
    rows = make_rows(replies)
    usual = find_usual_share(rows)
    assert usual == pytest.approx(0.39)
    assert measure_repetition(rows, usual).max() == pytest.approx(0.5)
    assert find_usual_share(rows[40:]) == LEAST_SHARE


def test_many_answers_to_one_context_are_no_stock_replies() -> None:
    rows = make_rows([f"answer {n}" for n in range(MIN_ROWS)])
    rows += [rows[0]._replace(response="Yes.")] * 16
    assert not measure_repetition(rows).any()


def test_templates_are_found_whatever_stands_in_the_gap() -> None:
    words = ["".join(chr(97 + int(digit)) for digit in f"{n:04d}") for n in range(MIN_ROWS)]
    rows = [Exchange(f"I saw {w}", "", f"I like {w}, {w} is great.") for w in words]
    assert {blank_context(row) for row in rows} == {"i like _ , _ is great ."}
    assert (measure_repetition(rows) > 0.9).all()


def test_probabilities_are_one_half_where_the_budget_is_spent() -> None:
    human = np.arange(2_000, dtype=float)
    calibration = Calibration(dict.fromkeys(SIGNALS, human))
    for name, signal in SIGNALS.items():
        assert signal.maxim in MAXIMS
        if signal.budget == 0:
            continue
        at_budget = np.quantile(human, 1 - signal.budget)
        low, half, high = calibration.to_probabilities(name, np.array([0, at_budget, 1e9]))
        assert half == pytest.approx(0.5, abs=0.1)
        assert low < 0.07 and high > 0.85
        assert calibration.to_probabilities(name, np.array([np.nan])) == 0


def test_all_budgets_together_leave_nine_of_ten_human_replies() -> None:
    assert sum(signal.budget for signal in SIGNALS.values()) < 0.1
