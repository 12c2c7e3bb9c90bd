"""Cooperation of a generator: the figures by hand, the systems, the table, wrong input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parley.platform.cooperate.evaluation.cooperation import (
    CooperationResult,
    evaluate_generator,
    measure_preferences,
    quick_cooperation,
)
from parley.platform.cooperate.evaluation.metrics import check_criteria
from parley.platform.cooperate.evaluation.questions import choose_questions
from parley.platform.cooperate.evaluation.table import (
    find_violations,
    format_table,
    measure_system,
)
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.errors import InputError
from parley.platform.language.completions import completion_log_probs
from parley.platform.maxims.text.exchange import Exchange
from parley.platform.runs.files import to_json
from parley.platform.settings.loading import replace_overrides
from parley.policies.dialogue.loading import LanguageModel, load_language_model
from tests.platform.cooperate.cooperation_fixtures import (
    CONTEXT,
    EVIDENCE,
    RuleJudge,
    judge_length,
    make_pair,
    perturbed,
)

SYSTEMS = [
    *("human", "rejected", "base", "untuned", "untuned_reranked"),
    *("tuned", "tuned_beam", "tuned_sampled", "reranked", "repaired"),
]


@pytest.fixture(scope="module")
def config() -> DialogueDPOConfig:
    changed = replace_overrides(
        DialogueDPOConfig(),
        ["generation.max_new_tokens=12", "generation.candidates=4", "generation.temperature=1.0"],
    )
    assert isinstance(changed, DialogueDPOConfig)
    return changed


@pytest.fixture(scope="module")
def reference(quick_model_folder: Path) -> LanguageModel:
    return load_language_model(quick_model_folder)


@pytest.fixture(scope="module")
def tuned(quick_model_folder: Path) -> LanguageModel:
    return perturbed(quick_model_folder)


@pytest.fixture(scope="module")
def result(
    tuned: LanguageModel, reference: LanguageModel, config: DialogueDPOConfig
) -> CooperationResult:
    judge = RuleJudge(judge_length)
    detector = RuleJudge(lambda row: (*judge_length(row)[:1], 0.0, 0.0, 0.0))
    pairs = [make_pair(n, "quantity" if n % 2 else "manner") for n in range(12)]
    told: list[str] = []
    found = evaluate_generator(
        tuned, reference, reference, pairs, detector, judge, config, 0, 0, told.append
    )
    assert found.lines == told[-len(found.lines) :]
    return found


def rows_of(*texts: str) -> list[Exchange]:
    return [Exchange(CONTEXT, EVIDENCE, text) for text in texts]


def test_the_figures_of_a_system_by_hand() -> None:
    rows = rows_of("I do.", "i  do.", "2 cups of tea, a b c d", "")
    judge = RuleJudge(judge_length)
    judged = find_violations(judge, rows)
    assert judged.tolist() == [
        [False] * 4,
        [False] * 4,
        [True, True, False, False],
        [True, False, False, False],
    ]
    found = measure_system("tuned", rows, ["a", "a", "b", "c"], judged, ~judged, 7.0)
    assert found.cooperative.value == 0.5
    assert found.violations["quantity"].value == 0.5
    assert found.violations["quality"].value == 0.25
    assert found.detector_cooperative.value == 0.0
    assert found.words == pytest.approx((2 + 2 + 8 + 0) / 4)
    assert found.repeated.value == 0.25
    assert found.empty.value == 0.25
    assert found.distinct_1.value == pytest.approx(10 / 12)
    assert found.distinct_2.value == pytest.approx(8 / 9)
    low, high = found.cooperative.interval
    assert 0.0 < low < 0.15 and 0.85 < high < 1.0  # two conversations of three disagree


def test_loops_within_a_response_are_seen() -> None:
    rows = rows_of("a b c d a b c d", "e f g h i")
    flags = np.zeros((2, 4), np.bool_)
    found = measure_system("tuned", rows, ["a", "b"], flags, flags)
    assert found.looping.value == pytest.approx(1 / 7)
    assert found.repeated.value == 0.0


def test_all_systems_stand_in_the_table(result: CooperationResult) -> None:
    assert [system.name for system in result.table] == SYSTEMS
    by_name = {system.name: system for system in result.table}
    assert by_name["human"].cooperative.value == 0.0  # each has a digit
    assert by_name["rejected"].violations["quantity"].value == 1.0
    assert replace(by_name["base"], name="untuned") == by_name["untuned"]
    for better, worse in (("reranked", "tuned"), ("repaired", "reranked")):
        figures = by_name[better].detector_cooperative, by_name[worse].detector_cooperative
        assert figures[0].value >= figures[1].value
    assert all(len(line) <= 80 for line in result.lines if not line.startswith("NO VERDICT"))
    assert len(format_table(result.table)) == 1 + len(SYSTEMS)


def test_the_figures_bear_their_contracts_names(result: CooperationResult) -> None:
    metrics = result.metrics
    for name in (
        *("preference_accuracy", "preference_accuracy_length_controlled"),
        *("preference_accuracy_by_maxim", "eval_loss", "cooperative_rate"),
        *("cooperative_rate_untuned", "violation_rate_by_maxim", "cooperative_rate_human"),
        *("cooperative_rate_rejected", "cooperative_rate_reranked", "cooperative_rate_repaired"),
        *("cooperative_rate_beam", "cooperative_rate_sampled", "cooperative_rate_base"),
        *("chosen_perplexity_ratio", "distinct_2", "response_words"),
    ):
        assert name in metrics
        if "rate" in name or "accuracy" in name:
            assert f"{name}_ci95" in metrics
    assert metrics["prompts"] == metrics["heldout_pairs"] == 12
    gain = metrics["cooperative_rate"] - metrics["cooperative_rate_untuned"]
    assert metrics["cooperative_gain"] == pytest.approx(gain)
    assert set(metrics["criteria"]) == {
        *("cooperative_rate_above_65", "better_than_untuned", "quality_violations_below_10"),
    }
    json.loads(to_json(metrics))
    json.loads(to_json([system.as_row() for system in result.table]))


def test_samples_hold_every_systems_answer(result: CooperationResult) -> None:
    assert len(result.samples) == 12
    for sample in result.samples:
        assert list(sample["answers"]) == SYSTEMS
        assert sample["context"].startswith(CONTEXT)
        assert sample["evidence"] == EVIDENCE
        assert "quantity" in sample["answers"]["rejected"]["violations"]
        assert sample["answers"]["human"]["violations"] == ["quality"]
        assert sample["answers"]["human"]["detected"] == []


def test_criteria_are_met_or_not() -> None:
    def are_met(
        rate: tuple[Any, Any], gain: tuple[Any, Any], quality: tuple[Any, Any], obstacle: str = ""
    ) -> list[bool | None]:
        metrics = {
            "no_verdict": obstacle or None,
            "cooperative_rate": 0.7,
            "cooperative_rate_ci95": rate,
            "cooperative_rate_untuned": 0.5,
            "cooperative_gain_ci95": gain,
            "violation_rate_by_maxim": {"quality": 0.1},
            "violation_rate_by_maxim_ci95": {"quality": quality},
        }
        return [criterion.is_met for criterion in check_criteria(metrics)]

    assert are_met((0.66, 0.9), (0.01, 0.4), (0.01, 0.09)) == [True, True, True]
    assert are_met((0.3, 0.6), (-0.4, -0.1), (0.11, 0.2)) == [False, False, False]
    assert are_met((0.6, 0.9), (-0.09, 0.47), (0.05, 0.2)) == [None, None, None]
    assert are_met((math.nan, math.nan), (0.0, 0.4), (None, None)) == [None, None, None]
    assert are_met((0.66, 0.9), (0.01, 0.4), (0.01, 0.09), "few") == [None, None, None]


def test_preferences_are_those_of_the_log_probabilities(
    tuned: LanguageModel, reference: LanguageModel, config: DialogueDPOConfig
) -> None:
    pairs = [make_pair(n) for n in range(4)]
    found = measure_preferences(tuned, reference, pairs, config)
    prompts = [pair.prompt for pair in pairs]
    sums = {
        (name, side): completion_log_probs(model, prompts, [getattr(p, side) for p in pairs])[0]
        for name, model in (("tuned", tuned), ("reference", reference))
        for side in ("chosen", "rejected")
    }
    rewards = {
        side: sums["tuned", side] - sums["reference", side] for side in ("chosen", "rejected")
    }
    margins = config.dpo.beta * (rewards["chosen"] - rewards["rejected"])
    assert found["preference_accuracy"] == np.mean(margins > 0)
    assert found["eval_loss"] == pytest.approx(np.mean(np.log1p(np.exp(-margins))), abs=1e-4)
    same = measure_preferences(reference, reference, pairs, config)
    assert same["preference_accuracy"] == 0.5
    assert same["eval_loss"] == pytest.approx(math.log(2))
    assert same["chosen_perplexity_ratio"] == 1.0


def test_the_quick_measure_agrees_with_the_whole_one(
    tuned: LanguageModel, config: DialogueDPOConfig, result: CooperationResult
) -> None:
    pairs = [make_pair(n) for n in range(12)]
    judge = RuleJudge(judge_length)
    tuned.model.train()
    found = quick_cooperation(tuned, pairs, judge, config, 0, 0)
    assert tuned.model.training
    tuned.model.eval()
    for name in ("cooperative_rate", "distinct_2", "response_words", "violation_rate_by_maxim"):
        assert found.metrics[name] == pytest.approx(result.metrics[name], nan_ok=True)
    assert found.cooperative is not None
    assert found.cooperative.mean() == found.metrics["cooperative_rate"]
    few, again = (quick_cooperation(tuned, pairs, judge, config, 4, 0) for _ in range(2))
    assert few.metrics == again.metrics
    unjudged = quick_cooperation(tuned, pairs, None, config, 4, 0)
    assert unjudged.cooperative is None
    assert set(few.metrics) - set(unjudged.metrics) == {
        *("cooperative_rate", "cooperative_rate_ci95"),
        *("violation_rate_by_maxim", "violation_rate_by_maxim_ci95"),
    }


def test_questions_are_different_prompts() -> None:
    pairs = [make_pair(n // 2, chosen=f"answer {n}") for n in range(10)]
    questions = choose_questions(pairs, 0, 0)
    assert [pair.chosen for pair in questions.pairs] == [f"answer {n}" for n in range(0, 10, 2)]
    assert questions.contexts[0] == (f"{CONTEXT} [agent_2]: Yes, 0 cups.", EVIDENCE)
    few = choose_questions(pairs, 3, seed=1)
    assert few == choose_questions(pairs, 3, seed=1)
    assert len(few.pairs) == len(set(few.prompts)) == 3
    assert len(choose_questions(pairs, 99, 0).pairs) == 5
    with pytest.raises(InputError, match="no held-out pair"):
        choose_questions([], 0, 0)
    with pytest.raises(InputError, match="pair pair0 of made: not a prompt"):
        choose_questions([make_pair(0, prompt="Hello?")], 0, 0)
