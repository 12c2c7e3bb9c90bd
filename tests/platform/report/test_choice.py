"""Which trial is better, and whether that is shown: scores by conversation, their difference."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from parley.platform.cooperate.evaluation.cooperation import QuickCooperation
from parley.platform.cooperate.evaluation.heldout_outcome import HeldoutOutcome
from parley.platform.report.choice import CHOICE, Gain, describe_choice
from parley.platform.report.sweeps import render_sweep
from tests.platform.cooperate.cooperation_fixtures import make_pair

NUM_PAIRS = 24
PAIRS = [make_pair(n) for n in range(NUM_PAIRS)]
"""Of eight conversations."""


def outcome(wins: Sequence[float], cooperative: Sequence[bool] | None = None) -> HeldoutOutcome:
    answered = PAIRS[: 0 if cooperative is None else len(cooperative)]
    judged = None if cooperative is None else np.array(cooperative)
    names = [pair.conversation for pair in answered]
    return HeldoutOutcome.of(np.array(wins), PAIRS, QuickCooperation(judged, names, {}))


def test_a_score_is_the_weighted_mean_of_both_rates() -> None:
    wins = [1.0] * 15 + [0.0] * 2 + [-1.0] * 7
    accuracy = (15 + 2 * 0.5) / NUM_PAIRS
    judged = outcome(wins, [True] * 6 + [False] * 2)
    assert judged.score(0.5) == pytest.approx(0.5 * accuracy + 0.5 * 0.75)
    assert judged.score(1.0) == pytest.approx(accuracy)
    assert judged.score(0.0) == pytest.approx(0.75)
    for weight in (0.0, 0.5):  # what no judge could count has no part in it
        assert outcome(wins).score(weight) == pytest.approx(accuracy)
    stored = json.loads(json.dumps(judged.to_dict()))
    again = HeldoutOutcome.from_dict(stored)
    assert again.conversations == judged.conversations
    np.testing.assert_array_equal(again.sums, judged.sums)


def test_the_gain_of_one_trial_over_another() -> None:
    good, bad = outcome([1.0] * NUM_PAIRS), outcome([-1.0, 1.0, 1.0] * 8)
    gain = good.gain_over(bad, 0.5)
    assert gain is not None
    assert gain.value == pytest.approx(1 / 3)
    assert gain.interval == pytest.approx((1 / 3, 1 / 3))  # the same in each conversation
    same = good.gain_over(good, 0.5)
    assert same is not None and (same.value, same.interval) == (0.0, (0.0, 0.0))
    noisy = outcome([-1.0] * 3 + [1.0] * 21)
    found = noisy.gain_over(outcome([1.0] * 20 + [-1.0] * 4), 0.5)
    assert found is not None and found.interval[0] < 0 < found.interval[1]
    assert good.gain_over(outcome([1.0] * NUM_PAIRS, [True] * 8), 0.5) is None


def test_a_choice_says_how_sure_it_is() -> None:
    clear, level = Gain(0.2, (0.1, 0.3), 12), Gain(0.01, (-0.09, 0.47), 12)
    sure = describe_choice("00001", {"00000": clear, "00002": clear})
    assert sure["best_is_shown"] is True and sure["best_not_told_from"] == []
    assert sure[CHOICE].startswith("trial 00001 is better than the next best, 00000: +0.200")
    unsure = describe_choice("00001", {"00000": level, "00002": clear})
    assert unsure["best_is_shown"] is False
    assert unsure["best_not_told_from"] == ["00000"]
    assert unsure["best_score_gain_ci95"] == [-0.09, 0.47]
    assert "cannot be told apart from 00000" in unsure[CHOICE]
    few = describe_choice("00001", {"00000": clear._replace(num_units=5)})
    assert few["best_is_shown"] is False
    assert "cannot be shown on 5 held-out conversations" in few[CHOICE]
    assert "cannot be told apart" in render_sweep([], unsure)
