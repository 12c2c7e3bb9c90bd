"""Settings: what comes with the package loads, round trips and can be overridden."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parley.envs.cartpole import tokens
from parley.platform.control.settings import STEP_TOKENS, CartPolePPOConfig, PPOConfig
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.settings.experiments import settings_classes
from parley.platform.settings.loading import (
    changed_keys,
    load_experiment,
    quick_overrides,
    read_experiment_file,
    replace_overrides,
    to_toml,
)
from parley.platform.settings.packaged import list_experiments

EXPERIMENTS = sorted(list_experiments())
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_packaged_experiments_load_and_round_trip(name: str, quick: bool, tmp_path: Path) -> None:
    config = load_experiment(name, quick=quick)
    resolved = tmp_path / "config.toml"
    resolved.write_text(to_toml(config))
    assert config.experiment == name
    assert load_experiment(resolved) == config


def test_there_is_an_experiment_of_every_kind() -> None:
    kinds = {type(load_experiment(name)) for name in EXPERIMENTS}
    assert kinds == set(settings_classes().values())


def test_one_file_serves_both_algorithms_of_self_play() -> None:
    config = load_experiment("dialogue/distort", ["algorithm=reinforce", "competitor=some/model"])
    assert isinstance(config, DialogueDistortConfig)
    assert config.gradient is config.reinforce
    assert config.seats["competitor"].model == "some/model"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_packaged_experiments_state_their_sections_in_full(name: str) -> None:
    file = read_experiment_file(name)
    stated = tomllib.loads(to_toml(load_experiment(name)))
    assert list_experiments()[name]
    for section, settings in stated.items():
        if isinstance(settings, dict) and section in file.table:
            assert set(settings) == set(file.table[section]), section  # type: ignore[call-overload]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_quick_does_less(name: str) -> None:
    full, quick = load_experiment(name), load_experiment(name, quick=True)
    assert quick_overrides(name)
    assert set(changed_keys(full, quick)) == {
        override.partition("=")[0] for override in quick_overrides(name)
    }


def test_overrides_reach_dotted_and_unique_keys() -> None:
    config = load_experiment(
        "cartpole/ppo",
        ["ppo.learning_rate=3e-4", "num_env_runners=4", "policy=mlp", 'init_from="a b"', "seed=7"],
    )
    assert isinstance(config, CartPolePPOConfig)
    assert config.ppo.learning_rate == 3e-4
    assert config.rollouts.num_env_runners == 4
    assert (config.policy, config.init_from) == ("mlp", "a b")
    assert (config.seed, config.evaluation.seed) == (7, 10_000)


def test_overrides_come_after_quick_and_the_last_one_counts() -> None:
    config = load_experiment("cartpole/ppo", ["episodes=3", "episodes=4"], quick=True)
    assert isinstance(config, CartPolePPOConfig)
    assert config.evaluation.episodes == 4


def test_none_takes_an_optional_setting_away() -> None:
    config = load_experiment("cartpole/ppo", ["target_return=none", "value_clip=2.0"])
    assert isinstance(config, CartPolePPOConfig)
    assert (config.stop.target_return, config.ppo.value_clip) == (None, 2.0)


@pytest.mark.parametrize("text", ["runs/a", "2026-01-01", "3", "none", "a=b", "x\ny = 1", ""])
def test_a_string_setting_takes_any_text(text: str) -> None:
    config = load_experiment("cartpole/ppo", [f"init_from={text}"])
    assert isinstance(config, CartPolePPOConfig)
    assert config.init_from == text


@given(
    learning_rate=st.floats(min_value=1e-300, max_value=1e300),
    seed=st.integers(min_value=0, max_value=2**63 - 1),
    init_from=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_any_setting_survives_toml(learning_rate: float, seed: int, init_from: str) -> None:
    ppo = PPOConfig(learning_rate=learning_rate)
    config = CartPolePPOConfig(seed=seed, init_from=init_from, ppo=ppo)
    assert CartPolePPOConfig.model_validate(tomllib.loads(to_toml(config))) == config


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        CartPolePPOConfig().seed = 1


def test_replace_overrides_leaves_the_original() -> None:
    config = load_experiment("cartpole/ppo")
    assert changed_keys(config, replace_overrides(config, ["clip=0.123"])) == ["ppo.clip"]
    assert config == load_experiment("cartpole/ppo")


def test_a_step_has_as_many_tokens_as_in_the_environment() -> None:
    assert STEP_TOKENS == tokens.STEP_TOKENS


def test_loading_settings_loads_neither_torch_nor_ray() -> None:
    program = (
        "import sys; from parley.platform.settings.loading import load_experiment as load; "
        "load('cartpole/ppo'); "
        "print(sorted({'torch', 'ray', 'transformers', 'gymnasium', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
