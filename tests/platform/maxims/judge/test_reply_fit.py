"""How a reply fits: topics, plain clues, and the regression that joins them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from parley.platform.maxims.judge.ranker import Ranker
from parley.platform.maxims.judge.ranker_encoders import (
    NUM_KNOWN,
    Report,
    TokenStates,
    WordEncoder,
    learn_words,
)
from parley.platform.maxims.judge.reply_fit import (
    CLUES,
    FitParts,
    find_clues,
    join,
    score_by_rankers,
    score_unseen,
)
from parley.platform.maxims.judge.topics import Topics

MUSIC = ["I play the piano.", "Piano concerts need rehearsal.", "Rehearsal with an orchestra?"]
SEA = ["Whales dive deep.", "Dolphins dive near whales.", "Sailors watch dolphins."]


@pytest.fixture(scope="module")
def topics() -> Topics:
    return Topics.learn([MUSIC, SEA] * 4, width=2, seed=0)


@pytest.fixture(scope="module")
def fit(topics: Topics) -> FitParts:
    torch.manual_seed(0)
    vectors = np.random.default_rng(0).normal(size=(512, 6)).astype(np.float32)
    return FitParts(WordEncoder([], vectors), [Ranker(6, 4).eval(), Ranker(6, 4).eval()], topics)


def test_words_of_one_conversation_are_near_even_if_they_never_meet(topics: Topics) -> None:
    piano, orchestra, dolphins, nothing = topics.locate(["piano", "orchestra", "dolphins", "and"])
    assert piano @ orchestra > 0.9 > 0.1 > abs(piano @ dolphins)
    assert not nothing.any()


def test_unknown_words_say_most(topics: Topics) -> None:
    assert topics.weight(["piano"]) <= topics.weight(["zyzzyva"])
    assert topics.weight([]) == 0
    assert topics.weight(["piano", "whales"]) > topics.weight(["piano"])


def test_clues_by_hand(fit: FitParts, topics: Topics) -> None:
    context = ["Whales dive deep.", "Do you play the piano?"]
    clues = dict(
        zip(CLUES, find_clues(fit, [context], ["Yes, whales play piano!"])[0], strict=True)
    )
    assert clues["shared_context"] == pytest.approx(topics.weight(["whales", "play", "piano"]))
    assert clues["shared_last"] == pytest.approx(topics.weight(["play", "piano"]))
    assert clues["content"] == pytest.approx(topics.weight(["whales", "play", "piano"]))
    assert (clues["reply_words"], clues["last_words"]) == (4, 5)
    assert (clues["question_before"], clues["question"], clues["question_at_end"]) == (1, 0, 1)
    assert clues["answering_word"] == 1
    about = topics.locate(["Yes, whales play piano!", context[-1]])
    assert clues["topic_last"] == pytest.approx(about[0] @ about[1])


def test_without_a_context_nothing_can_be_said(fit: FitParts) -> None:
    clues = find_clues(fit, [[], ["Hi!"]], ["Hello!", "Hello!"])
    assert np.isnan(clues[0]).all() and not np.isnan(clues[1]).any()
    assert np.isnan(find_clues(fit, [[]], ["Hello!"])).all()


def test_the_rankers_are_averaged_and_pairs_are_independent(fit: FitParts) -> None:
    contexts = [["a b", "c"], ["d e f"], ["a b", "c", "g", "h i"]]
    replies = ["j k l m", "n", "o p"]
    both = score_by_rankers(fit, contexts, replies)
    each = [
        score_by_rankers(FitParts(fit.encoder, [ranker], fit.topics), contexts, replies)
        for ranker in fit.rankers
    ]
    np.testing.assert_allclose(both, np.mean(each, 0), atol=1e-6)
    for place in range(3):
        alone = score_by_rankers(fit, contexts[place : place + 1], replies[place : place + 1])
        np.testing.assert_allclose(alone, both[[place]], atol=1e-5)


def test_the_regression_finds_the_clue_that_tells() -> None:
    rng = np.random.default_rng(0)
    true, false = rng.normal(size=(2, 400, 3)) * (1.0, 100.0, 0.01)
    true[:, 0] += 2
    true[5] = np.nan
    joining = join(true, false)
    score_true, score_false = joining.score(true), joining.score(false)
    assert np.isnan(score_true[5])
    assert np.nanmean(score_true > 0) > 0.8 and (score_false < 0).mean() > 0.8
    shares = np.abs(joining.weights) * (1.0, 100.0, 0.01)
    assert shares[0] > 10 * shares[1:].max()


def test_unseen_scores_do_not_know_their_own_conversation() -> None:
    """Clues that only memory can use: alone in its fold, a conversation gets a chance score."""
    rng = np.random.default_rng(1)
    owners = np.repeat(np.arange(5), 40)
    true, false = rng.normal(size=(2, 200, 2))
    before = score_unseen(true, false, owners)
    changed = true.copy()
    changed[owners == 3] += 5
    after = score_unseen(changed, false, owners)
    expected = join(true[owners != 3], false[owners != 3]).score(changed[owners == 3])
    np.testing.assert_allclose(after[owners == 3], expected)
    assert not np.allclose(before[owners != 3], after[owners != 3])


def test_turns_that_are_asked_for_again_are_kept_and_equal() -> None:
    encoder = learn_words(["tea and cake", "rain all day"] * 4, 4, 0)
    calls: list[tuple[str, ...]] = []
    plain = encoder.encode

    def counting(turns: Sequence[str], report: Report | None = None) -> TokenStates:
        calls.append(tuple(turns))
        return plain(turns, report)

    encoder.encode = counting  # type: ignore[method-assign]
    sets = [("tea", f"rain {number}") for number in range(NUM_KNOWN + 1)]
    for turns in sets:
        assert np.array_equal(encoder.encode_again(turns).states, plain(turns).states)
    encoder.encode_again(sets[-1])
    assert len(calls) == len(sets)  # the newest is known
    encoder.encode_again(sets[0])
    assert len(calls) == len(sets) + 1  # the oldest is not
    joined = encoder.encode_again(sets[1]).join(plain(["cake"]))
    assert np.array_equal(joined.states, plain([*sets[1], "cake"]).states)
    assert np.array_equal(joined.offsets, plain([*sets[1], "cake"]).offsets)
