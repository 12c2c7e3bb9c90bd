"""RLlib's PPO for token environments with a vector form: one iteration and its wiring.

`WindowPPO.training_step` is the loop's body: weights go out with the request for samples, episodes
come back in the order of the runners, advantages are whitened over all of them, the learners
update. `build_config` is the only place that knows RLlib's configuration calls.

What may happen to runners and learners meanwhile is `restorable_ppo`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module import MultiRLModuleSpec, RLModuleSpec
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)

from parley.platform.cluster.devices import rllib_settings
from parley.platform.control.fragment import ADVANTAGES
from parley.platform.control.learner import BatchEpisodes, WindowPPOLearner, share_steps
from parley.platform.control.runner import Rollout, RunnerSettings, VectorEnvRunner
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.vector_task import VectorTask
from parley.platform.engine.rllib.advantages import whiten
from parley.platform.engine.rllib.placement import (
    WAIT_S,
    runner_settings,
    wait_s,
)
from parley.platform.engine.rllib.restorable_ppo import (
    NO_CONNECTOR_STATES,
    IterationTimes,
    RestorablePPO,
)
from parley.platform.engine.rllib.runner_requests import Patience, SamplingError
from parley.policies.token.window_module import TokenModule


class WindowPPO(RestorablePPO):
    """PPO whose runners get their weights with every request."""

    def setup(self, config: Any) -> None:
        """Start runners and learners."""
        self.returns: list[float] = []
        super().setup(config)

    def training_step(self) -> None:
        """Sample from all runners, whiten the advantages, update."""
        self.begin_iteration()
        started = time.perf_counter()
        rollouts = self.collect()
        sampled = time.perf_counter()
        self.metrics.aggregate([r.metrics for r in rollouts], key=ENV_RUNNER_RESULTS)
        self.begin_update()
        self.num_env_steps += sum(rollout.num_env_steps for rollout in rollouts)
        self.returns = [value for rollout in rollouts for value in rollout.returns]
        episodes = [episode for rollout in rollouts for episode in rollout.episodes]
        whiten_episodes(episodes)
        results = self.learner_group.update(
            **divide(episodes, self.config.num_learners),
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps},
            num_epochs=self.config.num_epochs,
            minibatch_size=self.config.minibatch_size,
            shuffle_batch_per_epoch=True,
        )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self.times = IterationTimes(sampled - started, time.perf_counter() - sampled)

    def collect(self) -> list[Rollout]:
        """One fragment from every runner that is up and answers, in the order of the runners.

        Raises:
            RunnerError: a runner failed at its work.
            SamplingError: no runner delivered; see `Patience`.
        """
        self._update_number += 1
        state = ray.put(self.runner_state())
        timeout_s = self.config.sample_timeout_s
        patience = Patience(timeout_s)
        while True:
            answers = self.ask("sample_with_weights", {"state": state}, timeout_s)
            if answers.values:
                return sorted(answers.values, key=lambda rollout: rollout.worker_index)
            patience.note(answers)
            if patience.is_over:
                raise SamplingError(
                    f"none of {self.config.num_env_runners} runners delivered a sample within "
                    f"{timeout_s:g} s (rollouts.sample_timeout_s); the last checkpoint stands, "
                    f"resume from it with --resume"
                )
            self.restore_env_runners(self.env_runner_group)
            time.sleep(1.0)

    def training_state(self) -> dict[str, Any]:
        """All that `restore_training` needs: plain values and numpy arrays."""
        answers = self.ask("get_env_state", {}, self._state_timeout_s)
        return {
            **self.learner_state(),
            "runners": {state["worker_index"]: state for state in answers.values},
        }

    def restore_training(self, state: Mapping[str, Any]) -> None:
        """Go on where `training_state` was called; for a fresh algorithm.

        Raises:
            RestoreError: a learner does not hold the weights afterwards.
        """
        self.restore_learners(state)
        self.ask("set_env_state", {"states": state["runners"]}, self.config.sample_timeout_s)


def divide(episodes: Sequence[SingleAgentEpisode], num_learners: int) -> dict[str, Any]:
    """What `LearnerGroup.update` is given: the episodes, or a share of their steps for each."""
    if num_learners < 2:
        return {"episodes": list(episodes)}
    return {"batches": share_steps(episodes, num_learners)}


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
        PPOConfig(algo_class=WindowPPO)
        .environment(
            env=None,
            env_config={"runner": runner, WAIT_S: wait_s(config.ray)},
            observation_space=task.observation_space,
            action_space=task.action_space,
            disable_env_checking=True,
        )
        .resources(placement_strategy=config.rollouts.placement.upper())
        .framework("torch")
        .debugging(seed=config.seed, log_level="ERROR")
        .reporting(min_time_s_per_iteration=None, metrics_num_episodes_for_smoothing=100)
        .env_runners(
            env_runner_cls=VectorEnvRunner,
            **runner_settings(config.rollouts),
            num_envs_per_env_runner=config.rollouts.num_envs_per_env_runner,
            rollout_fragment_length=config.rollouts.rollout_fragment_length,
            sample_timeout_s=config.rollouts.sample_timeout_s,
            create_local_env_runner=False,
            **NO_CONNECTOR_STATES,
        )
        .fault_tolerance(restart_failed_env_runners=True, max_num_env_runner_restarts=1000)
        .learners(
            **rllib_settings(config.learner),
            add_default_connectors_to_learner_pipeline=False,
            learner_connector=lambda *_: [BatchEpisodes()],
            learner_class=WindowPPOLearner,
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
