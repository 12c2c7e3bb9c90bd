"""Generated pairs: how many, of which maxims, without a leak; and what shortcuts reach on them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.preference_baselines import (
    SHORTCUTS,
    count_doubled_marks,
    count_lower_starts,
    count_odd_spaces,
    count_repeats,
    length_margins,
    measure_shortcuts,
    score_margins,
    stock_margins,
    word_margins,
)
from parley.platform.cooperate.evaluation.preference_accuracy import measure_accuracy
from parley.platform.maxims.pairs.generated import generate_pairs
from parley.platform.maxims.pairs.leaks import check_leaks
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.maxims.text.exchange import MAXIMS, split_prompt
from parley.platform.maxims.text.wording import split_turns


def test_a_tenth_is_held_out_without_a_leak() -> None:
    split = generate_pairs(600, seed=3)
    pairs = split.training + split.heldout
    assert (len(split.training), len(split.heldout)) == (540, 60)
    assert len({pair.id for pair in pairs}) == 600
    check = check_leaks(split)
    assert not any(check.leaks.values())
    assert check.crossed_responses == 0
    for pair in pairs:
        context, evidence = split_prompt(pair.prompt)
        assert 1 <= len(split_turns(context)) <= 3
        assert evidence
        assert pair.chosen != pair.rejected


def test_all_maxims_are_about_equally_frequent() -> None:
    counts = Counter(pair.maxim for pair in generate_pairs(600, seed=0).training)
    assert all(counts[maxim] > 0.8 * 540 / 5 for maxim in MAXIMS)
    assert set(counts) > set(MAXIMS)


def test_equal_arguments_give_equal_pairs() -> None:
    assert generate_pairs(100, seed=1) == generate_pairs(100, seed=1)
    assert generate_pairs(100, seed=1) != generate_pairs(100, seed=2)
    with pytest.raises(ValueError, match="at least 2"):
        generate_pairs(1, seed=0)
    assert len(generate_pairs(2, seed=0).heldout) == 1


def pair(chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair("id", "talk", "prompt", chosen, rejected, "quantity", "test")


def test_a_rule_on_length_alone_is_at_chance_when_length_is_controlled() -> None:
    split = PairSplit(
        [pair("a b c", "a")] * 3, [pair("a b", "a"), pair("a b", "a"), pair("a", "b c")]
    )
    margins = length_margins(split)
    np.testing.assert_array_equal(margins, [1, 1, -1])
    measured = measure_accuracy(margins, split.heldout)
    assert measured.accuracy.value == pytest.approx(2 / 3)
    assert measured.length_controlled.value == 0.5
    shorter = PairSplit([pair("a", "a b c")], split.heldout)
    np.testing.assert_array_equal(length_margins(shorter), [-1, -1, 1])


def test_words_that_only_rejected_responses_hold_are_learned() -> None:
    training = [pair(f"good {word}", f"bad {word}") for word in "abcdefgh"]
    heldout = [pair("good x", "bad x"), pair("y bad", "y good"), pair("z", "w")]
    margins = word_margins(PairSplit(training, heldout))
    assert margins[0] > 0 > margins[1]
    assert margins[2] == 0


def test_a_response_that_was_rejected_before_is_the_worse_one() -> None:
    split = PairSplit([pair("Yes", "It varies.")], [pair("No", "it  varies."), pair("a", "b")])
    np.testing.assert_array_equal(stock_margins(split), [1, 0])


@pytest.mark.parametrize(
    ("count", "text", "expected"),
    [
        (count_doubled_marks, "Fine... Really?! Yes!!! A.B. ok", 0),
        (count_doubled_marks, "Fun!, they say.. no?. or ;. that", 4),
        (count_odd_spaces, "one two", 0),
        (count_odd_spaces, " one  two\n", 3),
        (count_lower_starts, "One. Two... three? Four.", 0),
        (count_lower_starts, "one. two! Three", 2),
        (count_repeats, "one two three four five", 0),
        (count_repeats, "I like my old hat, in short, i like my old hat", 2),
    ],
)
def test_signs_are_counted(count: object, text: str, expected: int) -> None:
    assert callable(count)
    assert count(text) == expected


def test_all_shortcuts_are_measured_alike() -> None:
    split = generate_pairs(300, seed=0)
    measured = measure_shortcuts(split)
    assert list(measured) == list(SHORTCUTS)
    assert measured["words"].accuracy.value > 0.6
    for accuracy in measured.values():
        assert accuracy.accuracy.count == 30
    with pytest.raises(ValueError, match="both sides"):
        measure_shortcuts(replace(split, heldout=[]))
    np.testing.assert_array_equal(score_margins(len, [pair("abc", "a")]), [2])
