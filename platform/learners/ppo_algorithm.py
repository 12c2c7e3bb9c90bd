"""RLlib's PPO for token environments with a vector form: one iteration and its wiring.

`TokenPPO.training_step` is the loop's body: weights go out with the request for samples, episodes
come back in the order of the runners, advantages are whitened over all of them, the learners
update. `build_config` is the only place that knows RLlib's configuration calls.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import ray
import torch
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module import MultiRLModuleSpec, RLModuleSpec
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from torch import Tensor

from parley.platform.config.cartpole import CartPolePPOConfig
from parley.platform.learners.devices import gpus_per_learner
from parley.platform.learners.ppo_learner import BatchEpisodes, TokenPPOLearner
from parley.platform.rollouts.advantages import whiten
from parley.platform.rollouts.fragment import ADVANTAGES
from parley.platform.rollouts.vector_runner import Rollout, RunnerSettings, VectorEnvRunner
from parley.platform.rollouts.vector_task import VectorTask
from parley.policies.rl_module import TokenModule

POLICY_PREFIX = "policy."
"""Where `TokenModule` holds its policy."""


class SamplingError(RuntimeError):
    """No runner delivered a sample, and none came back in time."""


@dataclass(frozen=True)
class IterationTimes:
    """Seconds that one iteration spent."""

    sample_s: float
    learn_s: float


class TokenPPO(PPO):
    """PPO whose runners get their weights with every request."""

    config: PPOConfig  # type: ignore[assignment]  # Tune's base class declares a dict
    metrics: MetricsLogger
    env_runner_group: EnvRunnerGroup
    learner_group: LearnerGroup

    def setup(self, config: Any) -> None:
        """Start runners and learners."""
        self.num_env_steps = 0
        self.returns: list[float] = []
        self.times = IterationTimes(0.0, 0.0)
        self._update_number = 0
        super().setup(config)

    def training_step(self) -> None:
        """Sample from all runners, whiten the advantages, update."""
        started = time.perf_counter()
        rollouts = self.collect()
        sampled = time.perf_counter()
        self.metrics.aggregate([r.metrics for r in rollouts], key=ENV_RUNNER_RESULTS)
        self.num_env_steps += sum(rollout.num_env_steps for rollout in rollouts)
        self.returns = [value for rollout in rollouts for value in rollout.returns]
        episodes = [episode for rollout in rollouts for episode in rollout.episodes]
        whiten_episodes(episodes)
        results = self.learner_group.update(
            episodes=cast("list[Any]", episodes),
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps},
            num_epochs=self.config.num_epochs,
            minibatch_size=self.config.minibatch_size,
            shuffle_batch_per_epoch=True,
        )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self.times = IterationTimes(sampled - started, time.perf_counter() - sampled)

    def collect(self) -> list[Rollout]:
        """One fragment from every healthy runner, in the order of the runners.

        Raises:
            SamplingError: no runner answered within `sample_timeout_s`.
        """
        self._update_number += 1
        state = ray.put(self.runner_state())
        deadline = time.monotonic() + self.config.sample_timeout_s
        while True:
            group = self.env_runner_group
            rollouts: list[Rollout] = group.foreach_env_runner(
                "sample_with_weights",
                kwargs={"state": state},
                local_env_runner=False,
                timeout_seconds=self.config.sample_timeout_s,
            )
            if rollouts:
                return sorted(rollouts, key=lambda rollout: rollout.worker_index)
            if time.monotonic() > deadline:
                raise SamplingError(
                    f"none of {self.config.num_env_runners} runners delivered a sample within "
                    f"{self.config.sample_timeout_s:.0f} s (rollouts.sample_timeout_s); the last "
                    f"checkpoint stands, go on with --resume"
                )
            self.restore_env_runners(group)
            time.sleep(1.0)

    def runner_state(self) -> dict[str, Any]:
        """The trained weights and their number, as runners take them."""
        module = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
        state = self.learner_group.get_state(components=[module], inference_only=True)
        weights = state[COMPONENT_LEARNER][COMPONENT_RL_MODULE]
        return {COMPONENT_RL_MODULE: weights, WEIGHTS_SEQ_NO: self._update_number}

    def policy_weights(self) -> dict[str, dict[str, Tensor]]:
        """The learners' weights on the CPU, as state dicts of the policies."""
        modules = self.runner_state()[COMPONENT_RL_MODULE]
        return {
            module_id: {
                name.removeprefix(POLICY_PREFIX): torch.from_numpy(np.array(array))
                for name, array in state.items()
            }
            for module_id, state in modules.items()
        }

    def load_weights(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Give the learners the weights of each module's policy."""
        modules = {
            module_id: {f"{POLICY_PREFIX}{name}": array.numpy() for name, array in state.items()}
            for module_id, state in weights.items()
        }
        self.learner_group.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: modules}})

    def training_state(self) -> dict[str, Any]:
        """All that `restore_training` needs: plain values and numpy arrays."""
        learner = self.learner_group.get_state()[COMPONENT_LEARNER]
        runners: list[dict[str, Any]] = self.env_runner_group.foreach_env_runner(
            "get_env_state", local_env_runner=False, timeout_seconds=self.config.sample_timeout_s
        )
        return {
            "num_env_steps": self.num_env_steps,
            "update_number": self._update_number,
            "weights": learner[COMPONENT_RL_MODULE],
            "optimizers": learner[COMPONENT_OPTIMIZER],
            "runners": {state["worker_index"]: state for state in runners},
        }

    def restore_training(self, state: Mapping[str, Any]) -> None:
        """Go on where `training_state` was called; for a fresh algorithm."""
        self.num_env_steps = state["num_env_steps"]
        self._update_number = state["update_number"]
        self.learner_group.set_state(
            {
                COMPONENT_LEARNER: {
                    COMPONENT_RL_MODULE: state["weights"],
                    COMPONENT_OPTIMIZER: state["optimizers"],
                }
            }
        )
        self.env_runner_group.foreach_env_runner(
            "set_env_state", kwargs={"states": state["runners"]}, local_env_runner=False
        )


def whiten_episodes(episodes: Sequence[SingleAgentEpisode]) -> None:
    """Whiten the advantages over all steps of each module's episodes, in place."""
    for module_id in sorted({str(episode.module_id) for episode in episodes}):
        own = [episode for episode in episodes if episode.module_id == module_id]
        parts = [episode.extra_model_outputs[ADVANTAGES].data for episode in own]
        cuts = np.cumsum([len(part) for part in parts])[:-1]
        whitened = np.split(whiten(np.concatenate(parts)), cuts)
        for episode, part in zip(own, whitened, strict=True):
            episode.extra_model_outputs[ADVANTAGES] = InfiniteLookbackBuffer(part)


def build_config(
    config: CartPolePPOConfig, task: VectorTask, policy_settings: Mapping[str, Any]
) -> PPOConfig:
    """The RLlib configuration of an experiment.

    Args:
        config: the experiment.
        task: its environment.
        policy_settings: sizes of the policy; see `policies.building`.
    """
    module_ids = sorted(set(task.module_of_agent.values()))
    num_shares = max(1, config.learner.num_learners)  # a gradient step joins one of each learner
    module_of_agent = dict(task.module_of_agent)
    spec = RLModuleSpec(
        module_class=TokenModule,
        observation_space=task.observation_space,
        action_space=task.action_space,
        model_config={
            "policy": config.policy,
            "settings": dict(policy_settings),
            "seed": config.seed,
        },
    )
    runner = RunnerSettings(
        make_vector_env=task.make_vector_env,
        agent_ids=task.agent_ids,
        seed=config.seed,
        gamma=config.ppo.gamma,
        gae_lambda=config.ppo.gae_lambda,
        reward_scale=config.ppo.reward_scale,
    )
    return (
        PPOConfig(algo_class=TokenPPO)
        .environment(
            env=None,
            env_config={"runner": runner},
            observation_space=task.observation_space,
            action_space=task.action_space,
            disable_env_checking=True,
        )
        .framework("torch")
        .debugging(seed=config.seed, log_level="ERROR")
        .reporting(min_time_s_per_iteration=None, metrics_num_episodes_for_smoothing=100)
        .env_runners(
            env_runner_cls=VectorEnvRunner,
            num_env_runners=config.rollouts.num_env_runners,
            num_envs_per_env_runner=config.rollouts.num_envs_per_env_runner,
            rollout_fragment_length=config.rollouts.rollout_fragment_length,
            sample_timeout_s=config.rollouts.sample_timeout_s,
            create_local_env_runner=False,
        )
        .fault_tolerance(restart_failed_env_runners=True, max_num_env_runner_restarts=1000)
        .learners(
            num_learners=config.learner.num_learners,
            num_gpus_per_learner=gpus_per_learner(config.learner),
            add_default_connectors_to_learner_pipeline=False,
            learner_connector=lambda *_: [BatchEpisodes()],
            learner_class=TokenPPOLearner,
            learner_config_dict={
                "ppo": config.ppo,
                "seed": config.seed,
                "num_threads": config.learner.num_threads,
            },
        )
        .training(
            gamma=config.ppo.gamma,
            lambda_=config.ppo.gae_lambda,
            num_epochs=config.ppo.num_epochs,
            minibatch_size=max(1, config.ppo.minibatch_size // num_shares),
            train_batch_size_per_learner=config.rollouts.batch_size // num_shares,
            use_kl_loss=False,
        )
        .rl_module(
            rl_module_spec=MultiRLModuleSpec(
                rl_module_specs={module_id: spec for module_id in module_ids}
            )
        )
        .multi_agent(
            policies=module_ids,
            policies_to_train=module_ids,
            policy_mapping_fn=lambda agent_id, episode=None, **_: module_of_agent[agent_id],
        )
    )
