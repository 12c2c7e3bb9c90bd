"""Stable-Baselines3's PPO on the raw states of CartPole-v1, with the zoo's settings.

They are those of CartPole-v1 in `hyperparams/ppo.yml` of DLR-RM/rl-baselines3-zoo. Learning rate
and clip range fall to 0 at its `n_timesteps`, so training ends there.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.contestants.score import ScoreSheet

NUM_TIMESTEPS = 100_000
NUM_ENVS = 8


def train_sb3(settings: str, seed: int, sheet: ScoreSheet) -> None:
    """One call of `learn`, interrupted for evaluations; `settings` can only be `zoo`.

    Raises:
        ValueError: there are no such settings.
    """
    if settings != "zoo":
        raise ValueError(f"settings must be 'zoo', got {settings!r}")
    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", NUM_ENVS, seed=seed),
        n_steps=32,
        batch_size=256,
        gae_lambda=0.8,
        gamma=0.98,
        n_epochs=20,
        ent_coef=0.0,
        learning_rate=lambda remaining: 0.001 * remaining,
        clip_range=lambda remaining: 0.2 * remaining,
        seed=seed,
        device="cpu",
    )
    referee = Referee(sheet)
    model.learn(min(NUM_TIMESTEPS, sheet.rules.env_step_limit), callback=referee)
    if not sheet.is_finished:
        referee.look(is_last=True)


class Referee(BaseCallback):
    """Stops the clock between an update and the next rollout to evaluate the policy."""

    def __init__(self, sheet: ScoreSheet) -> None:
        super().__init__()
        self.sheet = sheet
        self._resumed = 0.0

    def look(self, is_last: bool = False) -> None:
        """Note the time; evaluate if it is due."""
        self.sheet.add_training(self.num_timesteps, time.perf_counter() - self._resumed)
        self.sheet.evaluate_if_due(self._act, is_last)
        self._resumed = time.perf_counter()

    def _act(self, states: NDArray[np.float32]) -> NDArray[np.int64]:
        return self.model.predict(states, deterministic=True)[0]

    def _on_training_start(self) -> None:
        self.sheet.start()
        self._resumed = time.perf_counter()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self.look()

    def _on_step(self) -> bool:
        return not self.sheet.is_finished
