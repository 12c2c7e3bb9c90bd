"""The RLlib configuration of dialogue: the only place that knows RLlib's configuration calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module import MultiRLModuleSpec, RLModuleSpec

from parley.envs.dialogue.aec import make_action_space, make_observation_space
from parley.platform.cluster.devices import rllib_settings
from parley.platform.distort.algorithm import DialogueAlgorithm
from parley.platform.distort.learner import DialogueLearner
from parley.platform.distort.runner import DialogueEnvRunner, DialogueRunnerSettings
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.engine.rllib.placement import WAIT_S, runner_settings, wait_s
from parley.platform.engine.rllib.restorable_ppo import NO_CONNECTOR_STATES
from parley.policies.dialogue.module import DialogueModule


def build_dialogue_config(
    config: DialogueDistortConfig,
    runner: DialogueRunnerSettings,
    architectures: Mapping[str, Mapping[str, Any]],
) -> PPOConfig:
    """The RLlib configuration of an experiment.

    Args:
        config: the experiment.
        runner: what runners need to know.
        architectures: transformers configuration of each trained seat's model.
    """
    observations = make_observation_space(runner.dialogue)
    actions = make_action_space(runner.dialogue)
    gradient = config.gradient
    num_shares = max(1, config.learner.num_learners)
    specs = {
        seat: RLModuleSpec(
            module_class=DialogueModule,
            observation_space=observations,
            action_space=actions,
            model_config={"architecture": dict(architectures[seat])},
        )
        for seat in config.trained_seats
    }
    return (
        PPOConfig(algo_class=DialogueAlgorithm)
        .environment(
            env=None,
            env_config={"runner": runner, "experiment": config, WAIT_S: wait_s(config.ray)},
            observation_space=observations,
            action_space=actions,
            disable_env_checking=True,
        )
        .resources(placement_strategy=config.rollouts.placement.upper())
        .framework("torch")
        .debugging(seed=config.seed, log_level="ERROR")
        .reporting(min_time_s_per_iteration=None, metrics_num_episodes_for_smoothing=100)
        .env_runners(
            env_runner_cls=DialogueEnvRunner,
            **runner_settings(config.rollouts),
            num_envs_per_env_runner=config.rollouts.num_envs_per_env_runner,
            sample_timeout_s=config.rollouts.sample_timeout_s,
            create_local_env_runner=False,
            **NO_CONNECTOR_STATES,
        )
        .fault_tolerance(restart_failed_env_runners=True, max_num_env_runner_restarts=1000)
        .learners(
            **rllib_settings(config.learner),
            add_default_connectors_to_learner_pipeline=False,
            learner_class=DialogueLearner,
            learner_config_dict={
                "algorithm": config.algorithm,
                "ppo": gradient,
                "temperature": config.sampling.temperature,
                "seed": config.seed,
                "num_threads": config.learner.num_threads,
            },
        )
        .training(
            num_epochs=getattr(gradient, "num_epochs", 1),
            minibatch_size=max(1, gradient.minibatch_size // num_shares),
            train_batch_size_per_learner=config.rollouts.dialogues_per_iteration // num_shares,
            use_kl_loss=False,
        )
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
        .multi_agent(
            policies=list(config.trained_seats),
            policies_to_train=list(config.trained_seats),
            policy_mapping_fn=lambda agent_id, episode=None, **_: agent_id,
        )
    )
