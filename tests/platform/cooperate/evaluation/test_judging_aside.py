"""Judging in a thread of its own gives each system its verdicts, and hides no error."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from parley.platform.cooperate.evaluation.judging_aside import judging_aside
from parley.platform.cooperate.evaluation.questions import Questions, choose_questions
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.pairs.generated import generate_pairs
from parley.platform.maxims.text.exchange import MAXIMS, Exchange


class LengthDetector(Detector):
    """A reply of more than some characters is too much."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.thresholds = np.full(len(MAXIMS), 0.5)

    def score_rows(self, rows: Sequence[Exchange]) -> NDArray[np.float64]:
        """All or nothing, for quantity alone."""
        scores = np.zeros((len(rows), len(MAXIMS)))
        scores[:, 0] = [len(row.response) > self.most for row in rows]
        return scores


class BrokenDetector(LengthDetector):
    """What fails in the midst of it."""

    def score_rows(self, rows: Sequence[Exchange]) -> NDArray[np.float64]:
        """Never."""
        raise ZeroDivisionError("no scale")


@pytest.fixture(scope="module")
def questions() -> Questions:
    return choose_questions(generate_pairs(60, seed=0).heldout, 4, 0)


def test_each_system_has_its_verdicts_in_the_order_of_beginning(questions: Questions) -> None:
    num = len(questions.pairs)
    with judging_aside(LengthDetector(3), LengthDetector(30), questions) as judging:
        for name, text in (("short", "Yes"), ("longer", "Yes, I do"), ("shorter", "I")):
            judging.begin(name, [text] * num)
        verdicts = judging.finish()
    assert list(verdicts) == ["short", "longer", "shorter"]
    assert [bool(verdicts[name].judged.any()) for name in verdicts] == [False, True, False]
    assert verdicts["longer"].judged[:, 0].all()
    assert not any(found.detected.any() for found in verdicts.values())


def test_an_error_of_the_judge_is_raised_where_its_verdicts_are_asked_for(
    questions: Questions,
) -> None:
    with (
        pytest.raises(ZeroDivisionError, match="no scale"),
        judging_aside(BrokenDetector(3), LengthDetector(3), questions) as judging,
    ):
        judging.begin("any", ["Yes"] * len(questions.pairs))
        judging.finish()


def test_an_interrupt_leaves_no_thread(questions: Questions) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        judging_aside(LengthDetector(3), LengthDetector(3), questions) as judging,
    ):
        for number in range(50):
            judging.begin(str(number), ["Yes"] * len(questions.pairs))
        raise KeyboardInterrupt
    assert not [one for one in threading.enumerate() if one.name.startswith("judging")]
