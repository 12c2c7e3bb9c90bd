"""Dialogues of the distorter as rows to learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.distort.batch import make_rows, stretches_of
from parley.platform.distort.record import PlayedDialogue
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.engine.rllib.gradients.policy_gradient import Credit
from parley.platform.settings.loading import load_experiment
from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.sampling import Sampling
from tests.platform.distort.dialogue_fixtures import (
    draw_rewards,
    make_cast,
    make_settings,
    play,
)
from tests.platform.engine.rllib.gradient_fixtures import make_ppo, make_reinforce

SEAT = "distorter"
NARROW: dict[str, Any] = {"window": 20, "max_turns": 9}
NUM_DIALOGUES = 16
Rows = dict[str, NDArray[Any]]


def make_config(*overrides: str) -> DialogueDistortConfig:
    base = ["learner.num_threads=1"]
    if "algorithm=reinforce" not in overrides:
        base += ["ppo.value_clip=0.2", "ppo.entropy_coefficient=0.01"]
    config = load_experiment("dialogue/distort", [*base, *overrides])
    assert isinstance(config, DialogueDistortConfig)
    return config


def play_rows(
    policy: DialogueActorCritic, sampling: Sampling, algorithm: str = "ppo", **changes: Any
) -> Rows:
    dialogues = play(make_cast(policy, sampling), make_settings(**changes), NUM_DIALOGUES)
    return make_rows(dialogues, SEAT, credit_of(dialogues, algorithm), np.random.default_rng(0))


def credit_of(dialogues: list[PlayedDialogue], algorithm: str) -> Credit:
    gradient = make_ppo() if algorithm == "ppo" else make_reinforce()
    return gradient.credit(stretches_of(dialogues, SEAT, draw_rewards(dialogues, SEAT)))
