"""Attractors: the measures against slow formulas, the tracker against stories told by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from parley.platform.distort.viewing import attractors
from parley.platform.distort.viewing.attractors import AttractorTracker, phrases_of
from parley.platform.language.variety import distinct_n, repetition_rate
from parley.platform.runs.files import to_json
from parley.platform.runs.state_tree import load_tree, save_tree


def random_replies(seed: int, vocabulary: int, num_replies: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocabulary, rng.integers(0, 9)).tolist() for _ in range(num_replies)]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("vocabulary", [2, 5, 1000])
def test_rates_equal_slow_formulas(n: int, vocabulary: int) -> None:
    replies = random_replies(n, vocabulary)
    seen: list[list[int]] = []
    num_grams = num_repeated = 0
    for reply in replies:
        earlier: list[list[int]] = []
        for start in range(len(reply)):
            gram = reply[start : start + n]
            if len(gram) < n:
                continue
            num_grams += 1
            num_repeated += gram in earlier
            earlier.append(gram)
            if gram not in seen:
                seen.append(gram)
    assert distinct_n(replies, n) == pytest.approx(len(seen) / num_grams)
    assert repetition_rate(replies, n) == pytest.approx(num_repeated / num_grams)


def test_rates_by_hand() -> None:
    assert distinct_n([[1, 2, 1, 2]], 1) == 0.5
    assert distinct_n([[1, 2, 1, 2]], 2) == 2 / 3
    assert distinct_n([[1, 2], [2, 1]], 2) == 1.0
    assert repetition_rate([[7] * 8]) == 4 / 5
    assert repetition_rate([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]) == 0.0


def test_rates_of_nothing_are_not_a_number() -> None:
    assert math.isnan(distinct_n([], 1))
    assert math.isnan(distinct_n([[1], []], 2))
    assert math.isnan(repetition_rate([[1, 2, 3]]))
    figures = AttractorTracker().update(1, [], [])
    assert figures.pop("attractors") == []
    assert all(math.isnan(value) for value in figures.values())


def test_phrases_are_words_and_signs() -> None:
    assert phrases_of("Don\u2019t STOP!!") == {"don\u2019t stop"}
    assert phrases_of("Oh, no.") == {"oh , no"}
    assert phrases_of("?! ... ?!") == {"?! ...", "... ?!", "?! ... ?!"}
    assert phrases_of("a b c d e") == {
        *("a b", "b c", "c d", "d e"),
        *("a b c", "b c d", "c d e"),
        *("a b c d", "b c d e"),
    }
    assert phrases_of("haha") == phrases_of("") == set()


def test_a_reply_counts_as_repeated_within_and_across_iterations() -> None:
    tracker = AttractorTracker()
    first = tracker.update(1, [[1, 2], [3], [1, 2], [1, 2]], [""] * 4)
    assert first["repeated_replies"] == 0.5
    assert first["reply_length"] == 7 / 4
    assert tracker.update(2, [[3], [4], [], [2, 1]], [""] * 4)["repeated_replies"] == 0.25
    assert tracker.update(3, [[], [4]], [""] * 2)["repeated_replies"] == 1.0


def test_the_oldest_replies_are_forgotten_first() -> None:
    tracker = AttractorTracker(max_replies=3)
    tracker.update(1, [[token] for token in range(5)], [""] * 5)
    assert tracker.update(2, [[4], [3], [2]], [""] * 3)["repeated_replies"] == 1.0
    assert tracker.update(3, [[0], [1]], [""] * 2)["repeated_replies"] == 0.0


def say(tracker: AttractorTracker, iteration: int, texts: list[str]) -> list[dict[str, object]]:
    replies = [[hash(word) % 97 for word in text.split()] for text in texts]
    found: list[dict[str, object]] = tracker.update(iteration, replies, texts)["attractors"]
    return found


def fillers(iteration: int, num: int) -> list[str]:
    """Replies of words that never come back."""
    return [f"w{iteration}x{i} v{iteration}x{i} u{iteration}x{i}" for i in range(num)]


def test_a_phrase_that_rises_is_found_with_its_iteration() -> None:
    tracker = AttractorTracker(num_baseline=2)
    for iteration in (1, 2):
        found = say(tracker, iteration, ["how are you?"] * 20 + fillers(iteration, 180))
        assert found == [{"ngram": "how are you", "share": 0.1, "rise": 0.0, "rose_at": None}]
    say(tracker, 3, ["how are you?"] * 20 + fillers(3, 180))
    for iteration in (4, 5):
        texts = ["the moon is a lie"] * 50 + ["how are you?"] * 50 + fillers(iteration, 100)
        moon, greeting = say(tracker, iteration, texts)
        assert moon == {"ngram": "moon is a lie", "share": 0.25, "rise": 0.25, "rose_at": 4}
        assert greeting["ngram"] == "how are you"
        assert greeting["rise"] == pytest.approx(0.15)
        assert greeting["rose_at"] == 4
    assert say(tracker, 6, ["how are you?"] * 20 + fillers(6, 180)) == []
    again = say(tracker, 7, ["the moon is a lie"] * 200)
    assert (again[0]["rose_at"], again[0]["rise"]) == (4, 1.0)


@pytest.mark.parametrize(
    ("num_before", "num_now", "risen"),
    [
        (0, 8, False),  # 4 points: less than five
        (0, 12, False),  # 6 points, 3.5 standard errors
        (0, 18, True),  # 9 points, 4.3 standard errors
        (60, 86, False),  # 13 points, 3.1 standard errors
        (60, 100, True),  # 20 points, 4.8 standard errors
    ],
)
def test_a_rise_is_large_and_beyond_chance(num_before: int, num_now: int, risen: bool) -> None:
    tracker = AttractorTracker(num_baseline=1)
    say(tracker, 1, ["so it goes"] * num_before + fillers(1, 200 - num_before))
    (found,) = say(tracker, 2, ["so it goes"] * num_now + fillers(2, 200 - num_now))
    share, base = num_now / 200, num_before / 200
    error = math.sqrt((share + base) / 2 * (1 - (share + base) / 2) * 2 / 200)
    assert found["rise"] == pytest.approx(share - base)
    assert found["rose_at"] == (2 if risen else None)
    assert risen == (share - base >= 0.05 and share - base >= 4 * error)


def test_the_longest_form_is_chosen_unless_the_short_one_rose_much_more() -> None:
    tracker = AttractorTracker(num_baseline=1)
    say(tracker, 1, fillers(1, 20))
    found = say(tracker, 2, ["so very odd"] * 9 + ["so very"] + fillers(2, 10))
    assert [item["ngram"] for item in found] == ["so very odd"]
    found = say(tracker, 3, ["so very odd"] * 3 + ["so very"] * 7 + fillers(3, 10))
    assert [item["ngram"] for item in found] == ["so very", "very odd"]


def test_a_long_saying_is_one_attractor() -> None:
    tracker = AttractorTracker(num_baseline=1)
    say(tracker, 1, fillers(1, 20))
    saying = "one two three four five six seven eight nine"
    found = say(tracker, 2, [saying] * 10 + fillers(2, 10))
    assert [item["ngram"] for item in found] == ["five six seven eight"]


def test_no_two_attractors_share_a_pair_of_words_and_there_are_at_most_ten() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(12)]
    tracker = AttractorTracker(num_baseline=1)
    say(tracker, 1, fillers(1, 50))
    for iteration in range(2, 8):
        texts = [" ".join(rng.choice(words, 7)) for _ in range(60)]
        found = say(tracker, iteration, texts)
        assert len(found) == 10
        pairs = [pair for item in found for pair in set(pairwise(str(item["ngram"]).split(" ")))]
        assert len(pairs) == len(set(pairs))
        for item in found:
            holders = [f" {item['ngram']} " in f" {text} " for text in texts]
            assert item["share"] == pytest.approx(np.mean(holders))


def test_a_restored_tracker_goes_on_exactly(tmp_path: Path) -> None:
    def story(iteration: int) -> tuple[list[list[int]], list[str]]:
        replies = random_replies(iteration, 6)
        return replies, [" ".join(f"w{token}" for token in reply) for reply in replies]

    whole = AttractorTracker(max_replies=60)
    expected = [whole.update(iteration, *story(iteration)) for iteration in range(1, 9)]
    for cut in (1, 3, 5):
        first, second = AttractorTracker(max_replies=60), AttractorTracker(max_replies=60)
        figures = [first.update(iteration, *story(iteration)) for iteration in range(1, cut)]
        save_tree(first.state(), tmp_path / f"state_{cut}")
        second.restore(load_tree(tmp_path / f"state_{cut}"))
        figures += [second.update(iteration, *story(iteration)) for iteration in range(cut, 9)]
        assert to_json(figures) == to_json(expected)
        assert to_json(second.state()) == to_json(whole.state())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attractors, "MAX_BASELINE_PHRASES", 50)
    monkeypatch.setattr(attractors, "MAX_RISEN_PHRASES", 40)
    tracker = AttractorTracker(num_baseline=2, max_replies=100)
    for iteration in range(1, 12):
        texts = [f"a{iteration} b{i % 9} c{i % 7} d{i % 5} e{iteration}" for i in range(80)]
        replies = [[iteration, i] for i in range(80)]
        tracker.update(iteration, replies, texts)
    state = tracker.state()
    assert len(state["said"]) == 100
    assert len(state["baseline"]) == 50
    assert len(state["rose_at"]) == 40


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="2 replies but 1 texts"):
        AttractorTracker().update(1, [[1], [2]], ["a"])
    with pytest.raises(ValueError, match="num_baseline 0"):
        AttractorTracker(num_baseline=0)
