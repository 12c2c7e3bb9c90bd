"""No verdict where people fail, where the judge sees nothing, or where there is too little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from parley.envs.dialogue.conversations import Conversation
from parley.platform.cooperate.evaluation.judge_check import (
    LEAST_COOPERATIVE,
    check_before_training,
    check_judge,
    exchange_replies,
)
from parley.platform.cooperate.evaluation.questions import choose_questions
from parley.platform.cooperate.settings import DPOEvaluationConfig
from parley.platform.maxims.judge import building
from parley.platform.maxims.judge.building import JudgeRecipe, embedded_judge, find_conversations
from parley.platform.maxims.judge.diversity import MIN_ROWS
from parley.platform.maxims.judge.judge import FittedJudge
from parley.platform.maxims.judge.ranker_training import RankerSettings
from parley.platform.maxims.pairs.conversations import find_training_conversations
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.maxims.text.exchange import Exchange, make_prompt
from parley.platform.maxims.text.wording import likeness
from tests.platform.cooperate.cooperation_fixtures import RuleJudge, make_pair

TINY = JudgeRecipe(
    encoder="words",
    ranker=RankerSettings(num_epochs=1, num_rankers=1, token_width=8),
    word_width=16,
    num_generated=150,
    num_threads=1,
)
NUM_TALKS, NUM_TURNS = 60, 12
BEGINNINGS = ("bar", "tol", "wen", "sim", "gra", "plo", "fen", "dru", "kal", "mos")
ENDINGS = ("nik", "dle", "ster", "mond", "fish", "pot", "lings", "worth", "beck", "ton")
SAYINGS = (
    "I think that the {0} is better than any {1}, I saw it {2}.",
    "Do you know why the {0} needs a {1}? I asked {2}.",
    "My sister once bought a {0} and then a {1} for me, {2}.",
    "Yes, a {0} is what people like, but a {1} is cheaper, {2}.",
    "When I was young we had a {0} next to the {1}, {2}.",
    "It is true that no {0} was ever as old as the {1}, {2}.",
    "Have you ever seen a {0} without its {1}? I have, {2}.",
)


@pytest.fixture(scope="module")
def split() -> PairSplit:
    """Conversations about things that each names again and again."""
    random = Random(0)
    pairs = [pair for number in range(NUM_TALKS) for pair in _talk_about(number, random)]
    heldout = {f"talk{number}" for number in range(NUM_TALKS // 4)}
    return PairSplit(
        [pair for pair in pairs if pair.conversation not in heldout],
        [pair for pair in pairs if pair.conversation in heldout],
    )


def _talk_about(number: int, random: Random) -> list[PreferencePair]:
    things = [f"{random.choice(BEGINNINGS)}{random.choice(ENDINGS)}" for _ in range(3)]
    turns = [
        random.choice(SAYINGS).format(*random.sample(things, 2), f"{number} times {place}")
        for place in range(NUM_TURNS)
    ]
    speak = [f"[agent_{1 + place % 2}]: {turn}" for place, turn in enumerate(turns)]
    return [
        make_pair(
            NUM_TURNS * number + last,
            prompt=make_prompt(" ".join(speak[max(0, last - 3) : last]), "FS1"),
            chosen=turns[last],
            conversation=f"talk{number}",
        )
        for last in range(1, NUM_TURNS)
    ]


@pytest.fixture(scope="module")
def talks(split: PairSplit) -> list[Conversation]:
    return find_training_conversations(split)


@pytest.fixture(scope="module")
def judge(talks: list[Conversation], tmp_path_factory: pytest.TempPathFactory) -> FittedJudge:
    """A small judge that learned from the training side of the pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARLEY_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("PARLEY_DATA", raising=False)
        return embedded_judge(lambda line: None, TINY, talks)


def strange(pair: PreferencePair) -> PreferencePair:
    """The same pair in words that no small talk has."""
    words = pair.chosen.split()
    chosen = " ".join(f"{word[::-1]}x" for word in reversed(words))
    return replace(pair, chosen=chosen)


def test_people_pass_a_judge_that_learned_from_prepared_pairs(
    judge: FittedJudge, split: PairSplit
) -> None:
    assert judge.learned_from == building.PREPARED
    check = check_judge(judge, choose_questions(split.heldout, 0, 0))
    assert check.least_contexts == MIN_ROWS
    assert check.human.interval[0] > 0.65
    assert check.fit_gain.interval[0] > 0.0
    assert check.obstacle == ""


def test_a_judge_that_fails_people_gives_no_verdict(judge: FittedJudge, split: PairSplit) -> None:
    pairs = [strange(pair) for pair in split.heldout]
    check = check_judge(judge, choose_questions(pairs, 0, 0))
    assert check.human.interval[1] < 0.65
    assert "does not know this kind of talk" in check.obstacle
    assert building.PREPARED in check.obstacle
    for remedy in ("PARLEY_DATA", "prepare pairs", "judges.judge"):
        assert remedy in check.obstacle
    standing = check_before_training(judge, pairs, DPOEvaluationConfig())
    assert standing.no_verdict == standing.no_choice == check.fault


def test_a_judge_that_flags_nothing_gives_no_verdict() -> None:
    blind = RuleJudge(lambda row: (0.0, 0.0, 0.0, 0.0))
    check = check_judge(blind, choose_questions([make_pair(n) for n in range(60)], 0, 0))
    assert check.human.value == 1.0
    assert "people's replies of other conversations as cooperative as those" in check.obstacle


def test_stock_replies_pass_in_sets_that_are_too_small_to_see_them(
    judge: FittedJudge, split: PairSplit
) -> None:
    """So that a rate of less than the judge needs is no rate."""
    questions = choose_questions(split.heldout, MIN_ROWS, 1)
    assert questions.num_contexts == MIN_ROWS
    rows = questions.exchanges(["I think so."] * MIN_ROWS)
    alone = np.zeros((MIN_ROWS, 4))
    assert (judge.add_repetition(rows, alone)[:, 2] > 0.5).all()
    assert not judge.add_repetition(rows[:-1], alone[:-1]).any()
    few = choose_questions(split.heldout, MIN_ROWS - 1, 1)
    obstacle = check_judge(judge, few).obstacle
    assert obstacle.startswith("19 prompts with different contexts are too few")
    assert "evaluation.final_prompts = 20" in obstacle and "--episodes" in obstacle


def test_contexts_count_and_not_prompts() -> None:
    judge = RuleJudge(lambda row: (0.0, 0.0, 0.0, 0.0))
    judge.least_contexts = 5
    pairs = [make_pair(0, prompt=make_prompt("[agent_1]: Hi?", f"FS{n}")) for n in range(9)]
    questions = choose_questions(pairs, 0, 0)
    assert (len(questions.pairs), questions.num_contexts) == (9, 1)
    assert check_judge(judge, questions).shortage.startswith("1 prompts with different contexts")


def test_people_who_all_pass_are_no_fault_of_the_judge() -> None:
    """However few they are: the interval of all of seven reaches below what is asked."""
    judge = RuleJudge(lambda row: (0.0, 0.0, 0.9 * (row.response not in row.context), 0.0))
    pairs = [
        make_pair(n, prompt=make_prompt(f"[a]: Word{n}!", "FS1"), chosen=f"Word{n}!")
        for n in range(21)
    ]
    check = check_judge(judge, choose_questions(pairs, 0, 0))
    assert check.human.value == 1.0
    assert check.human.interval[0] < LEAST_COOPERATIVE
    assert check.obstacle == ""


def test_few_conversations_give_no_verdict(judge: FittedJudge, split: PairSplit) -> None:
    names = list(dict.fromkeys(pair.conversation for pair in split.heldout))[:5]
    pairs = [replace(p, conversation=names[n % 5]) for n, p in enumerate(split.heldout)]
    check = check_judge(judge, choose_questions(pairs, 0, 0))
    assert check.obstacle.startswith("the prompts are of 5 conversations")


@pytest.mark.parametrize(
    ("prompts", "final", "no_choice", "no_verdict"),
    [(64, 0, False, False), (8, 0, True, False), (20, 24, False, False), (8, 16, True, True)],
)
def test_what_the_judge_may_do_is_known_before_training(
    prompts: int,
    final: int,
    no_choice: bool,
    no_verdict: bool,
    judge: FittedJudge,
    split: PairSplit,
) -> None:
    evaluation = DPOEvaluationConfig(prompts=prompts, final_prompts=final)
    standing = check_before_training(judge, split.heldout, evaluation)
    assert bool(standing.no_choice) is no_choice
    assert bool(standing.no_verdict) is no_verdict
    if no_choice:
        assert "evaluation.prompts = 8" in standing.no_choice


def test_replies_are_exchanged_between_conversations() -> None:
    names = ["a", "b", "a", "c", "c", "a"]
    partners = exchange_replies(names)
    assert all(names[p] != own for p, own in zip(partners, names, strict=True))
    assert len(set(partners.tolist())) == len(names)
    assert (exchange_replies(["a", "a", "a", "b"]) >= 0).sum() == 2
    assert exchange_replies(["a", "a"]).tolist() == [-1, -1]


def test_conversations_are_put_together_from_their_windows() -> None:
    turns = [f"This is turn number {n} of a talk." for n in range(7)]
    speak = [f"[agent_{1 + n % 2}]: {turn}" for n, turn in enumerate(turns)]

    def pair(last: int, name: str = "t", **changes: str) -> PreferencePair:
        prompt = make_prompt(" ".join(speak[max(0, last - 3) : last]), "FS1")
        fields = {"prompt": prompt, "chosen": turns[last], "conversation": name}
        return make_pair(last, **(fields | changes))

    def parts_of(training: list[PreferencePair], heldout: list[PreferencePair]) -> list[int]:
        found = find_training_conversations(PairSplit(training, heldout))
        assert all(talk.origin == "t" for talk in found)
        return [len(talk.messages) for talk in found]

    other = [make_pair(99, prompt=make_prompt("[a]: Quite another thing, is it not so?", "x"))]
    windows = [pair(n) for n in (6, 3, 4, 5, 2)]
    (talk,) = find_training_conversations(PairSplit(windows, other))
    assert talk.messages == tuple(turns)
    assert parts_of([pair(1), pair(5)], other) == [2, 4]
    assert find_training_conversations(PairSplit(windows, [pair(3)])) == []
    # Where an answer is another than the next window's turn, nobody knows which one followed.
    changed = pair(4, chosen="Another answer than the one given there.")
    assert parts_of([changed, pair(5)], other) == [3, 2]


def test_what_is_held_out_is_not_learned_from(talks: list[Conversation], split: PairSplit) -> None:
    said = {likeness(turn) for talk in talks for turn in talk.messages}
    assert not said & {likeness(pair.chosen) for pair in split.heldout}
    assert {talk.origin for talk in talks} <= {pair.conversation for pair in split.training}


def test_the_sources_of_the_judge_in_their_order(
    talks: list[Conversation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PARLEY_DATA", raising=False)
    assert find_conversations(TINY)[1] == building.SMALL_TALK
    assert find_conversations(TINY, talks)[1] == building.PREPARED
    assert find_conversations(TINY, talks[:10])[1] == building.SMALL_TALK
    folder = tmp_path / "topical_chat"
    folder.mkdir()
    (folder / "a.txt").write_text("Hello!\nHi!\n\nBye!\nSee you!\n")
    monkeypatch.setenv("PARLEY_DATA", str(tmp_path))
    assert find_conversations(TINY, talks)[1] == "topical_chat"


def test_a_judge_of_pairs_calibrates_on_whole_conversations(judge: FittedJudge) -> None:
    facts = judge.facts
    assert facts["heldout_conversations"] == []
    assert facts["recipe"]["ranker"]["num_epochs"] == building.SCARCE_PASSES
    assert len(facts["calibration_conversations"]) > 10
    assert np.isfinite(judge.score_rows([Exchange("[a]: Hi?", "", "Hello!")])).all()
