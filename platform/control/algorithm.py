"""One iteration on token environments with a vector form, and what RLlib is told of it.

Weights go out with the request for samples, and episodes come back in the order of the runners.
What may happen to runners and learners meanwhile is `restorable_algorithm`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from parley.platform.control.learner import (
    BatchEpisodes,
    WindowLearner,
    credit_episodes,
    share_steps,
)
from parley.platform.control.runner import Rollout, RunnerSettings, VectorEnvRunner
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.vector_task import VectorTask
from parley.platform.engine.rllib.gradient_algorithm import GradientAlgorithm
from parley.platform.engine.rllib.gradient_learner import Schedules
from parley.platform.engine.rllib.rllib_config import AlgorithmParts, build_rllib_config
from parley.platform.engine.rllib.runner_requests import Patience, SamplingError
from parley.platform.engine.rllib.schedules import Line
from parley.platform.records import Batch, State
from parley.policies.token.window_module import TokenModule


class WindowAlgorithm(GradientAlgorithm):
    """Samples fragments and learns; runners keep their environments."""

    def setup(self, config: Any) -> None:
        """Start runners and learners."""
        self.returns: list[float] = []
        super().setup(config)

    def sample(self) -> list[Rollout]:
        """One fragment from every runner that is up and answers, in the order of the runners.

        Raises:
            RunnerError: a runner failed at its work.
            SamplingError: no runner delivered; see `Patience`.
        """
        state = self.publish_weights()
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

    def learn(self, sampled: Sequence[Rollout]) -> None:
        """Credit over all steps of the iteration, then the update."""
        self.metrics.aggregate([r.metrics for r in sampled], key=ENV_RUNNER_RESULTS)
        self.num_env_steps += sum(rollout.num_env_steps for rollout in sampled)
        self.returns = [value for rollout in sampled for value in rollout.returns]
        episodes = [episode for rollout in sampled for episode in rollout.episodes]
        runner: RunnerSettings = self.config.env_config["runner"]
        credit_episodes(episodes, self.gradient, runner.reward_scale)
        self.update_learners(divide(episodes, self.config.num_learners))

    def training_state(self) -> State:
        """With the environments of the runners."""
        answers = self.ask("get_env_state", {}, self._state_timeout_s)
        return {
            **super().training_state(),
            "runners": {state["worker_index"]: state for state in answers.values},
        }

    def restore_training(self, state: Mapping[str, Any]) -> None:
        """Take over a `training_state`."""
        super().restore_training(state)
        self.ask("set_env_state", {"states": state["runners"]}, self.config.sample_timeout_s)


def divide(episodes: Sequence[SingleAgentEpisode], num_learners: int) -> Batch:
    """What `LearnerGroup.update` is given: the episodes, or a share of their steps for each."""
    if num_learners < 2:
        return {"episodes": list(episodes)}
    return {"batches": share_steps(episodes, num_learners)}


def build_config(
    config: CartPolePPOConfig, task: VectorTask, policy_settings: Mapping[str, Any]
) -> PPOConfig:
    """The RLlib configuration of an experiment.

    Args:
        config: the experiment.
        task: its environment.
        policy_settings: sizes of the policy; see `policies.building`.
    """
    ppo, length = config.ppo, config.ppo.anneal_env_steps
    policy = {
        "policy": config.policy,
        "settings": dict(policy_settings),
        "seed": config.seed,
    }
    spec = RLModuleSpec(
        module_class=TokenModule,
        observation_space=task.observation_space,
        action_space=task.action_space,
        model_config=policy,
    )
    return build_rllib_config(
        config,
        AlgorithmParts(
            algorithm=WindowAlgorithm,
            runner=VectorEnvRunner,
            learner=WindowLearner,
            modules=dict.fromkeys(sorted(set(task.module_of_agent.values())), spec),
            module_of_agent=task.module_of_agent,
            spaces=(task.observation_space, task.action_space),
            env_config={
                "runner": RunnerSettings(
                    make_vector_env=task.make_vector_env,
                    agent_ids=task.agent_ids,
                    seed=config.seed,
                    reward_scale=ppo.reward_scale,
                )
            },
            runner_settings={
                "num_envs_per_env_runner": config.rollouts.num_envs_per_env_runner,
                "rollout_fragment_length": config.rollouts.rollout_fragment_length,
            },
            gradient_settings=ppo,
            schedules=Schedules(
                Line(ppo.learning_rate, ppo.learning_rate_final, length),
                Line(ppo.entropy_coefficient, ppo.entropy_coefficient_final, length),
                NUM_ENV_STEPS_SAMPLED_LIFETIME,
            ),
            connectors=(BatchEpisodes,),
            batch_size=config.rollouts.batch_size,
            minibatch_size=ppo.minibatch_size,
            sample_timeout_s=config.rollouts.sample_timeout_s,
        ),
    )
