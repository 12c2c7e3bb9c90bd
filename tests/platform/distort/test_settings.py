"""The settings of adversarial self-play: what is refused before anything is loaded, and why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parley.platform.distort.settings import (
    DialogueDistortConfig,
    DialoguePPOConfig,
    ReinforceConfig,
)
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import load_experiment, to_toml

ROOT = Path(__file__).parents[3]


def load(*overrides: str) -> DialogueDistortConfig:
    config = load_experiment("dialogue/distort", overrides)
    assert isinstance(config, DialogueDistortConfig)
    return config


REFUSED = {
    "max_reply_tokens=0": ["dialogue.max_reply_tokens = 0", "at least 1"],
    "max_turns=0": ["dialogue.max_turns = 0", "at least 1"],
    "dialogue.order=[]": ["dialogue.order"],
    'dialogue.order=["distorter","parrot"]': [
        "dialogue.order",
        "'parrot'",
        "competitor, distorter",
    ],
    'dialogue.order=["distorter","distorter"]': ["names a seat twice"],
    'dialogue.order=["competitor"]': ["leaves out distorter", "never learn"],
    "reward.judge=parrot": ["reward.judge", "'parrot'"],
    "reward.judge=distorter": ["reward.judge 'distorter' is trained", "frozen seat"],
    "seats.distorter.trained=false": ["no seat learns", "trained = true"],
    "ppo.minibatch_size=256": ["ppo.minibatch_size 256", "128", "lower the first"],
    "seats.distorter.model=": ["seats.distorter.model"],
    "sampling.temperature=0.0": ["sampling.temperature", "greater than 0"],
    "sampling.top_p=0.0": ["sampling.top_p", "greater than 0"],
    "sampling.top_k=-1": ["sampling.top_k", "at least 0"],
    "openers_holdout=1.0": ["dialogue.openers_holdout", "less than 1"],
    "anchor.kl=-0.1": ["anchor.kl", "at least 0"],
    "anchor.kl=nan": ["anchor.kl"],
    "ceiling_quantile=1.0": ["reward.ceiling_quantile", "less than 1"],
    "calibration_dialogues=1": ["reward.calibration_dialogues", "at least 8"],
    "algorithm=dpo": ["algorithm", "'ppo' or 'reinforce'"],
    "evaluation.episodes=0": ["evaluation.episodes", "at least 1"],
}


@pytest.mark.parametrize(("override", "parts"), REFUSED.items())
def test_override_is_refused(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(override)
    for part in parts:
        assert part in str(caught.value)


def test_the_minibatch_of_the_chosen_algorithm_counts() -> None:
    with pytest.raises(ConfigError, match=r"reinforce\.minibatch_size 256"):
        load("algorithm=reinforce", "reinforce.minibatch_size=256")
    settings = {"reinforce": {"minibatch_size": 256}}
    assert DialogueDistortConfig.model_validate(settings).algorithm == "ppo"


POOLS = {
    "pool.seat=distorter": ["pool.seat 'distorter'", "frozen seat"],
    "pool.seat=parrot": ["pool.seat 'parrot'", "distorter, competitor"],
    "pool.of=competitor": ["pool.of 'competitor'", "trained seat"],
}


@pytest.mark.parametrize(("override", "parts"), POOLS.items())
def test_a_pool_needs_a_frozen_seat_and_a_trained_one(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load("pool.share=0.5", override)
    for part in parts:
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match=r"where pool\.share is 0"):
        load(override)


def test_a_seats_model_has_a_short_key() -> None:
    config = load("competitor=gpt2", "seats.distorter.model=/models/mine")
    assert config.seats["competitor"].model == "gpt2"
    assert config.seats["distorter"].model == "/models/mine"
    assert config.trained_seats == ("distorter",)


def test_the_algorithm_chooses_its_settings() -> None:
    assert isinstance(load().gradient, DialoguePPOConfig)
    reinforce = load("algorithm=reinforce").gradient
    assert isinstance(reinforce, ReinforceConfig)
    assert (reinforce.learning_rate, reinforce.max_grad_norm) == (5e-5, 1.0)


def test_seats_may_be_of_any_number_and_name(tmp_path: Path) -> None:
    path = tmp_path / "choir.toml"
    names = ["ada", "bo", "cy", "dee"]
    seats = "".join(f"[seats.{n}]\ntrained = {str(n != 'dee').lower()}\n" for n in names)
    path.write_text(
        f'workflow = "dialogue"\nalgorithm = "ppo"\n{seats}'
        f'[dialogue]\norder = ["cy", "ada", "bo"]\n[reward]\njudge = "dee"\n'
    )
    config = load_experiment(path)
    assert isinstance(config, DialogueDistortConfig)
    assert config.trained_seats == ("ada", "bo", "cy")
    resolved = tmp_path / "resolved.toml"
    resolved.write_text(to_toml(config))
    assert load_experiment(resolved) == config


@pytest.mark.parametrize("name", ["Ada", "a-b", "", "1a", "a" * 33])
def test_names_of_seats_are_plain_words(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        f'workflow = "dialogue"\n[seats."{name}"]\ntrained = true\n'
        f'[seats.judge]\n[dialogue]\norder = ["{name}"]\n[reward]\njudge = "judge"\n'
    )
    with pytest.raises(ConfigError, match="seats"):
        load_experiment(path)


def test_a_wrong_setting_loads_neither_torch_nor_ray() -> None:
    program = (
        "import sys\n"
        "from parley.platform.cli import main\n"
        "code = main(['train', 'dialogue/distort', 'max_reply_tokens=0'])\n"
        "print(code, 'torch' in sys.modules, 'ray' in sys.modules)"
    )
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "2 False False"
