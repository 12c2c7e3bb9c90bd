"""The search space: what is tried, what is refused before anything starts."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.engine.sweeps.space import (
    TrialPlan,
    clip_values,
    mutations,
    plan_trials,
    trial_config,
    tune_space,
)
from parley.platform.settings.errors import ConfigError

BETA, RATE, EPOCHS = "dpo.beta", "dpo.learning_rate", "dpo.num_epochs"


def make_config(space: dict[str, Any], seed: int = 0, **sweep: Any) -> DialogueDPOConfig:
    nested: dict[str, dict[str, Any]] = {}
    for key, searched in space.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = searched
    return DialogueDPOConfig.model_validate({"seed": seed, "sweep": {"space": nested, **sweep}})


def test_a_grid_is_gone_through_whole() -> None:
    plans = plan_trials(
        make_config({BETA: {"grid": [0.1, 0.2]}, RATE: {"grid": [1e-4, 1e-3, 1.0]}})
    )
    pairs = {(plan.values[BETA], plan.values[RATE]) for plan in plans}
    assert pairs == {(beta, rate) for beta in (0.1, 0.2) for rate in (1e-4, 1e-3, 1.0)}
    assert [plan.number for plan in plans] == list(range(6))
    assert plans[3].name == "00003"


def test_draws_stay_in_their_ranges_and_follow_the_seed() -> None:
    space = {
        BETA: {"log_uniform": [0.01, 1.0]},
        "dpo.label_smoothing": {"uniform": [0.1, 0.2]},
        EPOCHS: {"uniform": [1, 3]},
        "dpo.schedule": {"choice": ["linear", "cosine"]},
    }
    plans = plan_trials(make_config(space, num_samples=40))
    assert len(plans) == 40
    assert all(0.01 <= float(plan.values[BETA]) <= 1.0 for plan in plans)
    assert sum(float(plan.values[BETA]) < 0.1 for plan in plans) in range(8, 33)
    assert {plan.values[EPOCHS] for plan in plans} == {1, 2, 3}
    assert {plan.values["dpo.schedule"] for plan in plans} == {"linear", "cosine"}
    assert plans == plan_trials(make_config(space, num_samples=40))
    assert plans != plan_trials(make_config(space, seed=1, num_samples=40))


def test_a_grid_is_repeated_for_each_draw() -> None:
    plans = plan_trials(
        make_config(
            {BETA: {"grid": [0.1, 0.2]}, RATE: {"log_uniform": [1e-5, 1e-3]}}, num_samples=3
        )
    )
    assert [plan.values[BETA] for plan in plans] == [0.1, 0.2] * 3
    assert len({plan.values[RATE] for plan in plans}) == 6


def test_a_trial_has_its_values_and_as_many_threads_as_cpus() -> None:
    config = make_config({BETA: {"grid": [0.1]}}, cpus_per_trial=3.0)
    dpo = trial_config(config, {BETA: 0.25, "dpo.schedule": "linear", EPOCHS: 2}).dpo
    assert (dpo.beta, dpo.schedule, dpo.num_epochs) == (0.25, "linear", 2)
    assert dpo.learning_rate == config.dpo.learning_rate
    assert trial_config(config, {}).learner.num_threads == 3


@pytest.mark.parametrize(
    ("space", "sweep", "words"),
    [
        ({}, {}, ["sweep.space", "empty"]),
        ({BETA: {"grid": [0.1, -0.1]}}, {}, ["sweep.space", "dpo.beta", "-0.1", "greater than 0"]),
        ({EPOCHS: {"choice": [1, 1.5]}}, {"num_samples": 30}, ["dpo.num_epochs", "1.5", "whole"]),
        ({BETA: {"grid": [0.1, 0.2]}}, {"num_samples": 2}, ["num_samples", "same seed"]),
        ({BETA: {"grid": [0.1]}}, {"scheduler": "pbt"}, ["pbt", "two"]),
        (
            {BETA: {"grid": [0.1, 0.2]}, "lora.rank": {"grid": [2, 4]}},
            {"scheduler": "pbt"},
            ["pbt", "lora.rank cannot change"],
        ),
        ({BETA: {"grid": [0.1]}}, {"search": "optuna"}, ["optuna", "num_samples"]),
        (
            {BETA: {"uniform": [-1.0, 1.0]}},
            {"search": "optuna", "num_samples": 4},
            ["dpo.beta", "-1.0"],
        ),
        (
            {BETA: {"grid": [0.1]}},
            {"search": "optuna", "scheduler": "pbt", "num_samples": 4},
            ["pbt", "optuna", "choose one"],
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(
    space: dict[str, Any], sweep: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_trials(make_config(space, **sweep))
    for word in words:
        assert word in str(caught.value)


def test_a_missing_optuna_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "optuna>=4"'):
        plan_trials(make_config({BETA: {"grid": [0.1]}}, search="optuna", num_samples=4))


def test_optuna_plans_nothing_and_draws_from_a_grid() -> None:
    config = make_config({BETA: {"grid": [0.1, 0.2]}}, search="optuna", num_samples=4)
    assert plan_trials(config) == []
    assert tune_space(config)[BETA].categories == [0.1, 0.2]


def test_a_population_mutates_within_the_space() -> None:
    config = make_config({BETA: {"grid": [0.1, 0.2]}, RATE: {"log_uniform": [1e-5, 1e-3]}})
    assert mutations(config)[BETA] == [0.1, 0.2]
    assert clip_values(config, {BETA: 0.2, RATE: 1.2e-3}) == {BETA: 0.2, RATE: 1e-3}
    assert clip_values(config, {BETA: 0.2, RATE: 1e-6}) == {BETA: 0.2, RATE: 1e-5}
    assert TrialPlan(7, {}).name == "00007"
