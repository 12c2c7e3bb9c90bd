"""The name that was meant: short names, other words of the field, abbreviations, slips."""

from __future__ import annotations

import pytest

from parley.platform.settings.experiments import settings_class, settings_classes
from parley.platform.settings.keys import field_types
from parley.platform.settings.spelling import SYNONYMS, nearest, nearest_names

PPO = [*field_types(settings_class("cartpole", "ppo"))]
DPO = [*field_types(settings_class("dialogue", "dpo"))]
PRETRAIN = [*field_types(settings_class("dialogue", "pretrain"))]


@pytest.mark.parametrize(
    ("known", "word", "found"),
    [
        (PPO, "lr", ["ppo.learning_rate"]),
        (PPO, "LR", ["ppo.learning_rate"]),
        (PPO, "ppo.lr", ["ppo.learning_rate"]),
        (PPO, "learning-rate", ["ppo.learning_rate"]),
        (PPO, "learningRate", ["ppo.learning_rate"]),
        (PPO, "bs", ["ppo.minibatch_size"]),
        (PPO, "batch_size", ["ppo.minibatch_size"]),
        (PPO, "epochs", ["ppo.num_epochs"]),
        (PPO, "wd", ["ppo.weight_decay"]),
        (PPO, "gama", ["ppo.gamma"]),
        (PPO, "discount", ["ppo.gamma"]),
        (PPO, "ent_coef", ["ppo.entropy_coefficient"]),
        (PPO, "clip_range", ["ppo.clip"]),
        (PPO, "n_envs", ["rollouts.num_envs_per_env_runner"]),
        (PPO, "hidden_size", ["model.embed_size"]),
        (PPO, "total_timesteps", ["stop.max_env_steps"]),
        (PPO, "rollout.placement", ["rollouts.placement"]),
        (DPO, "lr", ["supervised.learning_rate", "dpo.learning_rate"]),
        (DPO, "dpo.lr", ["dpo.learning_rate"]),
        (DPO, "supervised.bs", ["supervised.batch_size"]),
        (DPO, "temp", ["generation.temperature"]),
        (DPO, "lora_r", ["lora.rank"]),
        (DPO, "gamma", []),
        (DPO, "x", []),
        (PRETRAIN, "bs", ["training.batch_tokens"]),
        (["gpt2", "dhmm_gpt2"], "gpt", ["gpt2"]),
        ([], "lr", []),
        (PPO, "", []),
    ],
)
def test_what_was_meant(known: list[str], word: str, found: list[str]) -> None:
    assert nearest_names(word, known) == found


@pytest.mark.parametrize("known", [PPO, DPO, PRETRAIN])
def test_every_known_name_is_nearest_to_itself(known: list[str]) -> None:
    for name in known:
        assert nearest_names(name, known)[0] == name


def test_names_that_fit_equally_well_are_listed_together() -> None:
    assert nearest("lr", DPO) == " (did you mean supervised.learning_rate or dpo.learning_rate?)"
    assert nearest("temp", DPO) == " (did you mean generation.temperature?)"
    assert nearest("gamma", DPO) == ""


def test_every_synonym_stands_for_a_setting_that_there_is() -> None:
    leaves = {
        name.rpartition(".")[2]
        for kind in settings_classes().values()
        for name in field_types(kind)
    }
    for word, names in SYNONYMS.items():
        assert set(names) <= leaves, word
