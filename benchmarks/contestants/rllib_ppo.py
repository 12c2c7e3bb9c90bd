"""RLlib's own PPO on the raw states of CartPole-v1, with two environment runners.

`defaults` is what `PPOConfig()` brings. `tuned` has the settings of RLlib's tuned example, which
is not in the wheel: `rllib/examples/algorithms/ppo/cartpole_ppo.py` of ray-project/ray (formerly
in `rllib/tuned_examples/ppo/`). It asks for 4 runners and a learner process; here are two cores,
so there are 2 runners, and the learner stays in the main process as it does by default.
"""

from __future__ import annotations

import logging
import time

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from benchmarks.contestants.score import ScoreSheet
from parley.platform.terminal.quiet import quiet_libraries

NUM_ENV_RUNNERS = 2


def make_config(settings: str) -> PPOConfig:
    """One of the two sets of settings."""
    config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=NUM_ENV_RUNNERS)
    if settings == "defaults":
        return config
    return (
        config.env_runners(num_envs_per_env_runner=16)
        .training(lr=0.0003, num_epochs=6, vf_loss_coeff=0.01)
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=[32], fcnet_activation="linear", vf_share_layers=True
            )
        )
    )


def train_rllib(settings: str, seed: int, sheet: ScoreSheet) -> None:
    """Call `Algorithm.train` until the end."""
    quiet_libraries()
    ray.init(
        address="local",
        num_cpus=NUM_ENV_RUNNERS,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    algorithm = make_config(settings).debugging(seed=seed, log_level="ERROR").build_algo()

    def act(states: NDArray[np.float32]) -> NDArray[np.int64]:
        return choose_greedily(algorithm, states)

    sheet.start()
    while not sheet.is_finished:
        started = time.perf_counter()
        results = algorithm.train()
        seconds = time.perf_counter() - started
        sheet.add_training(
            int(results[ENV_RUNNER_RESULTS][NUM_ENV_STEPS_SAMPLED_LIFETIME]), seconds
        )
        sheet.evaluate_if_due(act)
    algorithm.stop()
    ray.shutdown()


def choose_greedily(algorithm: Algorithm, states: NDArray[np.float32]) -> NDArray[np.int64]:
    """The likelier action [B] of each state, by the weights that the runners have."""
    module = algorithm.get_module()
    assert module is not None, "the local runner has the module"
    with torch.inference_mode():
        output = module.forward_inference({Columns.OBS: torch.from_numpy(states)})
    actions: NDArray[np.int64] = output[Columns.ACTION_DIST_INPUTS].argmax(-1).numpy()
    return actions
