"""Repair rules: each mends what it is for, invents nothing, and leaves sound responses alone."""

from __future__ import annotations

import numpy as np
import pytest

from parley.platform.cooperate.evaluation.cooperation import repair_choices
from parley.platform.cooperate.evaluation.repairing import RULES, repair
from parley.platform.cooperate.evaluation.reranking import choose_best, violation_risks
from parley.platform.maxims.text.exchange import Exchange
from parley.platform.maxims.text.sentences import find_words
from tests.platform.cooperate.cooperation_fixtures import CONTEXT, EVIDENCE, RuleJudge, judge_length

CASES = [
    ("quality", "Yes. Interestingly, this accounts for 73% of all cases. I do.", "Yes. I do."),
    ("quality", "Studies show that tea is good. I like it.", "I like it."),
    ("quality", "I drink 2 cups.", "I drink 2 cups."),
    ("quality", "It is 73% of all cases.", "It is 73% of all cases."),
    ("quantity", "I like tea a lot. In other words, tea is what I like.", "I like tea a lot."),
    ("quantity", "I like green tea. I really like green tea. You?", "I like green tea. You?"),
    ("quantity", "One is. Two are. Three were. Four, too.", "One is. Two are. Three were."),
    ("manner", "I like it ?. really..", "I like it? Really."),
    ("manner", "It is hot. I think so. Tea is nice...", "I think so. It is hot. Tea is nice..."),
    (
        "manner",
        "we went to the old tea house by the river in the morning, and then they told us that it "
        "was closed for the whole winter season",
        "We went to the old tea house by the river in the morning. They told us that it was closed "
        "for the whole winter season",
    ),
    ("relation", "Coral reefs are old.", "Coral reefs are old."),
]


def exchange(response: str) -> Exchange:
    return Exchange("[agent_1]: I drink 2 cups a day.", EVIDENCE, response)


@pytest.mark.parametrize(("maxim", "before", "after"), CASES)
def test_each_rule_by_example(maxim: str, before: str, after: str) -> None:
    found = repair(exchange(before), [maxim])
    assert found.text == after
    assert found.rules == ((maxim,) if after != before else ())


@pytest.mark.parametrize("text", [before for _, before, _ in CASES])
def test_rules_invent_nothing_and_are_done_after_one_pass(text: str) -> None:
    for maxim, rule in RULES.items():
        once = rule(exchange(text))
        assert once.strip(), maxim
        words = {word.lower() for word in find_words(text)}
        assert {word.lower() for word in find_words(once)} <= words
        assert rule(exchange(once)) == once


def test_sound_responses_stay_as_they_are() -> None:
    for text in ("I do, thank you. And you?", "No.", "Really? I didn't know that!", "Hm... Maybe."):
        assert repair(exchange(text), list(RULES)).text == text


def test_what_no_rule_can_mend_gets_the_next_candidate() -> None:
    found = repair(exchange("Coral reefs are old."), ["relation"], ["", "I like tea."])
    assert found == type(found)("I like tea.", ("alternative",))
    mended = repair(exchange("It is so.. Two."), ["manner", "relation"], ["I like tea."])
    assert mended.rules == ("manner",)


def test_the_least_risky_candidate_is_chosen_and_the_first_of_equals() -> None:
    judge = RuleJudge(judge_length)
    contexts = [(CONTEXT, EVIDENCE)] * 2
    long, short, digit = "a b c d e f g h", "a b", "3 b"
    choices = choose_best(judge, contexts, [["", long, digit, short, short], ["b a", short]])
    assert [choice.text for choice in choices] == [short, "b a"]
    assert choices[0].others == (long, digit, "")
    assert choices[0].risk < 0 < choose_best(judge, contexts[:1], [[digit]])[0].risk
    (silent,) = choose_best(judge, contexts[:1], [["", " "]])
    assert silent.risk == np.inf


def test_risks_weigh_maxims_by_their_thresholds() -> None:
    judge = RuleJudge(lambda row: (0.2, 0.6, 0.0, 1.0) if row.response == "x" else (0.05, 0, 0, 0))
    judge.thresholds = np.array([0.1, 0.9, 0.5, 1.0])
    risks = violation_risks(judge, [exchange("x"), exchange("y"), exchange(" ")])
    odds = np.log(0.2 / 0.8) - np.log(0.1 / 0.9)
    assert risks[0] == pytest.approx(odds)
    assert risks[1] < 0
    assert risks[2] == np.inf
    assert len(violation_risks(judge, [])) == 0


def test_a_repair_is_kept_only_where_the_risk_falls() -> None:
    contexts = [(CONTEXT, EVIDENCE)] * 4
    judge = RuleJudge(judge_length)
    long = "I like green tea a lot. In other words, I like it very much."
    texts = [long, "It is 3 of 4 cups.", "I like tea.", ""]
    choices = choose_best(judge, contexts, [[text] for text in texts])
    assert repair_choices(judge, contexts, choices) == ["I like green tea a lot.", *texts[1:]]
    strict = RuleJudge(lambda row: (0.6 + (row.response != long) * 0.1, 0, 0, 0))
    choices = choose_best(strict, contexts[:1], [[long]])
    assert repair_choices(strict, contexts[:1], choices) == [long]
