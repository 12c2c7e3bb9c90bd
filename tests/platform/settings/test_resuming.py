"""A resumed run keeps its settings, but may be made longer."""

from __future__ import annotations

import pytest

from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import changed_keys, load_experiment
from parley.platform.settings.resuming import resumed_settings


def test_the_same_command_is_accepted_again() -> None:
    stored = load_experiment("cartpole/ppo", ["seed=3"], quick=True)
    assert resumed_settings(stored, "cartpole/ppo", ["seed=3"], quick=True) == stored
    assert resumed_settings(stored, "cartpole/ppo", []) == stored


def test_a_run_may_be_made_longer() -> None:
    stored = load_experiment("cartpole/ppo")
    longer = resumed_settings(stored, "cartpole/ppo", ["stop.max_env_steps=200_000"])
    assert changed_keys(stored, longer) == ["stop.max_env_steps"]


@pytest.mark.parametrize(("override", "key"), [("seed=4", "seed"), ("clip=0.123", "ppo.clip")])
def test_other_changes_are_refused(override: str, key: str) -> None:
    stored = load_experiment("cartpole/ppo")
    with pytest.raises(ConfigError, match=f"change {key};.*only stop"):
        resumed_settings(stored, "cartpole/ppo", [override])
