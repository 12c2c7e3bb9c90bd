"""The only module that knows RLlib's configuration calls; workflows hand in what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.rl_module import MultiRLModuleSpec, RLModuleSpec

from parley.platform.cluster.devices import rllib_settings
from parley.platform.engine.rllib.gradient_algorithm import GradientAlgorithm
from parley.platform.engine.rllib.gradient_learner import (
    SETTINGS,
    GradientLearner,
    LearnerSettings,
    Schedules,
)
from parley.platform.engine.rllib.gradients import GradientChoice, make_gradient
from parley.platform.engine.rllib.gradients.policy_gradient import GradientSettings
from parley.platform.engine.rllib.placement import WAIT_S, runner_settings, wait_s
from parley.platform.engine.rllib.weight_receiver import WeightReceiver
from parley.platform.settings.sections import (
    CheckpointConfig,
    LearnerConfig,
    RayConfig,
    RunnerConfig,
)

Space = gymnasium.Space[Any]
NO_CONNECTOR_STATES: dict[str, Any] = {
    "merge_env_runner_states": False,
    "broadcast_env_runner_states": False,
}
"""Settings of RLlib's runners: ours have no connectors. After each iteration RLlib would have every
runner send its whole state, and wait for those that hang."""
MOST_RESTARTS = 1000


class PolicyConfig(GradientChoice, Protocol):
    """What every experiment of policy gradients says."""

    seed: int
    ray: RayConfig
    learner: LearnerConfig
    checkpoint: CheckpointConfig

    @property
    def rollouts(self) -> RunnerConfig:
        """The processes that sample."""


@dataclass(frozen=True)
class AlgorithmParts:
    """What a workflow hands in."""

    algorithm: type[GradientAlgorithm]
    runner: type[WeightReceiver]
    learner: type[GradientLearner]
    modules: Mapping[str, RLModuleSpec]
    """Module -> how it is built; all of them learn."""
    spaces: tuple[Space, Space]
    """Of observations and of actions."""
    env_config: Mapping[str, Any]
    """What runners and the algorithm are told."""
    gradient_settings: GradientSettings
    """The section of the experiment that its algorithm names."""
    schedules: Schedules
    batch_size: int
    """Rows of one iteration."""
    minibatch_size: int
    """Rows of one gradient step."""
    sample_timeout_s: float
    """How long a runner may take for a request."""
    module_of_agent: Mapping[str, str] = field(default_factory=dict)
    """Agent -> its module; one that is missing has a module of its own name."""
    runner_settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of RLlib's runners."""
    temperature: float = 1.0
    """Of the sampler."""
    connectors: tuple[Callable[[], ConnectorV2], ...] = ()
    """Make the learner's batches, where it is given episodes."""


def build_rllib_config(config: PolicyConfig, parts: AlgorithmParts) -> PPOConfig:
    """The RLlib configuration of an experiment."""
    num_shares = max(1, config.learner.num_learners)  # a gradient step joins one of each learner
    settings = _learner_settings(config, parts)
    observations, actions = parts.spaces
    module_of_agent, connectors = dict(parts.module_of_agent), parts.connectors

    def connect(*_: Any) -> list[ConnectorV2]:
        return [make() for make in connectors]

    rllib = PPOConfig(algo_class=parts.algorithm).framework("torch")
    rllib.environment(
        env=None,
        env_config={**parts.env_config, WAIT_S: wait_s(config.ray)},
        observation_space=observations,
        action_space=actions,
        disable_env_checking=True,
    )
    rllib.resources(placement_strategy=config.rollouts.placement.upper())
    rllib.debugging(seed=config.seed, log_level="ERROR")
    rllib.reporting(min_time_s_per_iteration=None, metrics_num_episodes_for_smoothing=100)
    rllib.env_runners(
        env_runner_cls=parts.runner,
        **runner_settings(config.rollouts),
        **parts.runner_settings,
        sample_timeout_s=parts.sample_timeout_s,
        create_local_env_runner=False,
        **NO_CONNECTOR_STATES,
    )
    rllib.fault_tolerance(
        restart_failed_env_runners=True, max_num_env_runner_restarts=MOST_RESTARTS
    )
    rllib.learners(
        **rllib_settings(config.learner),
        add_default_connectors_to_learner_pipeline=False,
        learner_connector=connect if parts.connectors else None,
        learner_class=parts.learner,
        learner_config_dict={SETTINGS: settings},
    )
    rllib.training(
        num_epochs=settings.gradient.num_epochs,
        minibatch_size=max(1, parts.minibatch_size // num_shares),
        train_batch_size_per_learner=parts.batch_size // num_shares,
        use_kl_loss=False,
    )
    rllib.rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=dict(parts.modules)))
    rllib.multi_agent(
        policies=list(parts.modules),
        policies_to_train=list(parts.modules),
        policy_mapping_fn=lambda agent_id, episode=None, **_: module_of_agent.get(
            agent_id, agent_id
        ),
    )
    return rllib


def _learner_settings(config: PolicyConfig, parts: AlgorithmParts) -> LearnerSettings:
    return LearnerSettings(
        gradient=make_gradient(config, parts.gradient_settings),
        section=config.algorithm,
        seed=config.seed,
        num_threads=config.learner.num_threads,
        schedules=parts.schedules,
        temperature=parts.temperature,
    )
