"""Preference accuracy: by hand, against a plain formula, and shortcuts that gain nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parley.platform.cooperate.evaluation.preference_accuracy import (
    EQUAL,
    LONGER,
    SHORTER,
    PairLogProbs,
    clustered_mean,
    clustered_rate,
    length_controlled_rate,
    length_margins,
    mean_loss,
    measure_accuracy,
)
from parley.platform.maxims.pairs.pair import PreferencePair
from parley.platform.report.intervals import wilson_interval
from tests.platform.cooperate.cooperation_fixtures import make_pair


def make_pairs(num: int, share_longer: float, seed: int = 0) -> list[PreferencePair]:
    """Pairs with a longer chosen response in `share_longer` of them."""
    rng = np.random.default_rng(seed)
    longer, short = "one two three four", "one two"
    return [
        make_pair(n, chosen=longer if is_longer else short, rejected=short if is_longer else longer)
        for n, is_longer in enumerate(rng.random(num) < share_longer)
    ]


def test_hits_ties_and_groups_by_hand() -> None:
    pairs = [
        make_pair(0, "quantity", chosen="a b", rejected="a"),
        make_pair(1, "manner", chosen="a", rejected="a b"),
        make_pair(2, "quantity+manner", chosen="a b", rejected="a"),
        make_pair(3, "unknown", chosen="a", rejected="b"),
    ]
    found = measure_accuracy(np.array([1.0, -1.0, 0.0, 2.0]), pairs)
    assert found.accuracy.value == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert found.accuracy.count == 4
    # A pair in four is of equal length; the two longer ones weigh as much as the shorter one.
    assert found.length_controlled.value == pytest.approx((1.5 / 2 + 0 / 1) / 2 * 3 / 4 + 1 / 4)
    assert found.length_controlled.count == 4
    assert {name: (rate.value, rate.count) for name, rate in found.by_length.items()} == {
        LONGER: (0.75, 2),
        SHORTER: (0.0, 1),
        EQUAL: (1.0, 1),
    }
    assert {name: rate.value for name, rate in found.by_maxim.items()} == {
        "quantity": 1.0,
        "manner": 0.0,
        "several": 0.5,
        "unknown": 1.0,
    }
    metrics = found.metrics()
    assert set(metrics) == {
        *("preference_accuracy", "preference_accuracy_ci95"),
        *("preference_accuracy_length_controlled", "preference_accuracy_length_controlled_ci95"),
        "preference_accuracy_length_controlled_pairs",
        "preference_accuracy_length_controlled_pairs_left_out",
        *("preference_accuracy_by_maxim", "preference_accuracy_by_maxim_ci95"),
        *("preference_accuracy_by_length", "preference_accuracy_by_length_ci95"),
        *("preference_accuracy_pairs", "preference_accuracy_pairs_by_length"),
    }


def test_a_rule_on_length_gets_one_half() -> None:
    pairs = make_pairs(300, share_longer=0.8)
    share = np.mean(length_margins(pairs) > 0)
    for margins, expected in ((length_margins(pairs), share), (-length_margins(pairs), 1 - share)):
        found = measure_accuracy(margins, pairs)
        assert found.accuracy.value == pytest.approx(expected)
        assert found.length_controlled.value == pytest.approx(0.5)
        low, high = found.length_controlled.interval
        assert 0.35 < low < 0.5 < high < 0.65


def test_a_rule_on_length_gets_one_half_among_pairs_of_equal_length_too() -> None:
    equal = [make_pair(300 + n, chosen="a b", rejected="c d") for n in range(100)]
    pairs = make_pairs(300, share_longer=0.8) + equal
    found = measure_accuracy(length_margins(pairs), pairs)
    assert found.length_controlled.value == pytest.approx(0.5)
    assert found.length_controlled.count == 400
    assert found.by_length[EQUAL].value == 0.5


def test_wrong_pairs_of_equal_length_count() -> None:
    pairs = [
        *make_pairs(41, share_longer=0.5),
        *(make_pair(41 + n, chosen="a b", rejected="c d") for n in range(5)),
    ]
    found = measure_accuracy(np.array([1.0] * 41 + [-1.0] * 5), pairs)
    assert found.accuracy.value == pytest.approx(41 / 46)
    assert found.length_controlled.value == pytest.approx(41 / 46)
    metrics = found.metrics()
    assert metrics["preference_accuracy_by_length"][EQUAL] == 0.0
    assert metrics["preference_accuracy_pairs_by_length"][EQUAL] == 5
    assert metrics["preference_accuracy_length_controlled_pairs"] == 46
    assert metrics["preference_accuracy_length_controlled_pairs_left_out"] == 0


def test_without_one_kind_of_length_nothing_is_claimed() -> None:
    pairs = make_pairs(20, share_longer=1.0)
    found = measure_accuracy(np.ones(20), pairs)
    assert found.accuracy.value == 1.0
    assert math.isnan(found.length_controlled.value)
    assert all(math.isnan(bound) for bound in found.length_controlled.interval)
    assert found.metrics()["preference_accuracy_length_controlled_pairs_left_out"] == 20


def test_where_one_kind_of_length_is_missing_pairs_of_equal_length_stand_alone() -> None:
    pairs = make_pairs(20, share_longer=1.0)
    pairs += [make_pair(20 + n, chosen="a b", rejected="c d") for n in range(4)]
    found = measure_accuracy(np.array([1.0] * 20 + [1.0, -1.0, -1.0, -1.0]), pairs)
    assert found.length_controlled.value == 0.25
    assert found.length_controlled.count == 4
    assert found.metrics()["preference_accuracy_length_controlled_pairs_left_out"] == 20


def test_intervals_are_over_conversations() -> None:
    rng = np.random.default_rng(1)
    by_talk = rng.random(40) < 0.7
    hits = np.repeat(by_talk, 25).astype(float)
    talks = [f"talk{i}" for i in range(40) for _ in range(25)]
    clustered = clustered_rate(hits, talks)
    apart = clustered_rate(hits, [str(i) for i in range(len(hits))])
    assert clustered.value == apart.value == pytest.approx(by_talk.mean())
    widths = [rate.interval[1] - rate.interval[0] for rate in (clustered, apart)]
    assert widths[0] == pytest.approx(5 * widths[1], rel=0.15)
    expected = 2 * 1.96 * math.sqrt(by_talk.mean() * (1 - by_talk.mean()) / 40)
    assert widths[0] == pytest.approx(expected, rel=0.15)


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(2)
    num_covered = 0
    for _ in range(150):
        rates = rng.beta(4, 2, 30)
        sizes = rng.integers(1, 12, 30)
        hits = np.concatenate([rng.random(n) < p for n, p in zip(sizes, rates, strict=True)])
        talks = np.repeat(np.arange(30).astype(str), sizes).tolist()
        low, high = clustered_rate(hits, talks).interval
        num_covered += low <= 4 / 6 <= high
    assert 0.86 <= num_covered / 150 <= 1.0


def test_a_single_conversation_and_none() -> None:
    low, high = clustered_rate(np.array([1.0, 0.0]), ["a", "a"]).interval
    assert low < 0.2 and high > 0.8
    for rate_of in (clustered_rate, clustered_mean):
        empty = rate_of(np.array([]), [])
        assert math.isnan(empty.value)
        assert empty.count == 0
    lengths = np.array([LONGER, SHORTER, LONGER])
    rate = length_controlled_rate(np.array([1.0, 0.0, 1.0]), lengths, ["a", "b", "c"])
    assert rate.value == 0.5
    assert rate.count == 3


def test_all_right_is_not_certainty_and_conversations_count_not_pairs() -> None:
    talks = [f"talk{i}" for i in range(16) for _ in range(10)]
    low, high = clustered_rate(np.ones(160), talks).interval
    assert (low, high) == pytest.approx(wilson_interval(1.0, 16))
    assert low < 0.82 and high == 1.0


def test_gains_may_be_negative() -> None:
    gains = np.array([-1.0, 0.0, 0.0, -1.0, 1.0, -1.0] * 5)
    rate = clustered_mean(gains, [str(n) for n in range(30)])
    low, high = rate.interval
    assert rate.value == pytest.approx(-1 / 3)
    assert -1.0 <= low < rate.value < high < 0.1


def test_the_implicit_reward_and_its_loss_are_the_papers() -> None:
    rng = np.random.default_rng(0)
    tuned, reference = -10 * rng.random((6, 2)), -10 * rng.random((6, 2))
    counts = rng.integers(1, 9, (6, 2))
    log_probs = PairLogProbs(tuned, reference, counts)
    for i, margin in enumerate(log_probs.implicit_margins(0.3)):
        expected = 0.3 * ((tuned[i, 0] - reference[i, 0]) - (tuned[i, 1] - reference[i, 1]))
        assert margin == pytest.approx(expected)
    margins = log_probs.implicit_margins(0.3)
    losses = [-math.log(1 / (1 + math.exp(-margin))) for margin in margins]
    assert mean_loss(margins) == pytest.approx(np.mean(losses))
    assert mean_loss(np.array([-2_000.0])) == pytest.approx(2_000.0)
    assert mean_loss(np.array([2.0]), 0.1) == pytest.approx(
        0.9 * mean_loss(np.array([2.0])) + 0.1 * mean_loss(np.array([-2.0]))
    )
    perplexities = log_probs.chosen_perplexities()
    assert perplexities["chosen_perplexity"] == pytest.approx(
        math.exp(-tuned[:, 0].sum() / counts[:, 0].sum())
    )
    assert perplexities["chosen_perplexity_ratio"] == pytest.approx(
        perplexities["chosen_perplexity"] / perplexities["chosen_perplexity_reference"]
    )
    first = log_probs.likelihood_margins()[0]
    assert first == pytest.approx(tuned[0, 0] / counts[0, 0] - tuned[0, 1] / counts[0, 1])


def test_margins_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one for each"):
        measure_accuracy(np.ones(2), [make_pair(0)])
    with pytest.raises(ValueError, match="at least one"):
        measure_accuracy(np.ones(0), [])
    with pytest.raises(ValueError, match="1 of 1 margins are not finite"):
        measure_accuracy(np.array([math.nan]), [make_pair(0)])
