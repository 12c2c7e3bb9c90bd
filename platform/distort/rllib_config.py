"""What RLlib is told of self-play in dialogue, and how it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module import RLModuleSpec

from parley.envs.dialogue.aec import make_action_space, make_observation_space
from parley.platform.distort.algorithm import DialogueAlgorithm, SelfPlaySetup
from parley.platform.distort.learner import DialogueLearner
from parley.platform.distort.runner import DialogueEnvRunner, DialogueRunnerSettings, ModelRef
from parley.platform.distort.settings import DialogueDistortConfig, DialoguePPOConfig
from parley.platform.distort.task import DialogueTask
from parley.platform.engine.rllib.gradient_learner import Schedules
from parley.platform.engine.rllib.rllib_config import AlgorithmParts, build_rllib_config
from parley.platform.engine.rllib.schedules import Line, constant
from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.module import DialogueModule
from parley.policies.dialogue.parts import take_apart


def start_algorithm(config: DialogueDistortConfig, task: DialogueTask) -> DialogueAlgorithm:
    """Start runners and learners, and say who plays; trained seats hold their models' weights."""
    refs, seats = _make_refs(task), config.trained_seats
    runner = DialogueRunnerSettings(
        dialogue=task.settings,
        sampling=task.sampling,
        num_rows=config.rollouts.num_envs_per_env_runner,
        beginning=task.beginning,
    )
    architectures = {seat: refs[seat].architecture for seat in seats}
    rllib = build_dialogue_config(config, runner, architectures)
    algorithm = cast("DialogueAlgorithm", rllib.build_algo())
    algorithm.assign(
        SelfPlaySetup(
            frozen={seat: ref for seat, ref in refs.items() if seat not in seats},
            judge=refs[config.reward.judge],
            starts={seat: refs[seat] for seat in seats},
            openers=task.train_openers,
            beginning=task.beginning,
        )
    )
    models = {seat: task.models[seat].model for seat in seats}
    algorithm.load_weights(
        {seat: DialogueActorCritic(model).state_dict() for seat, model in models.items()}
    )
    return algorithm


def _make_refs(task: DialogueTask) -> dict[str, ModelRef]:
    """Each model once in Ray's object store, whatever number of seats it has."""
    refs: dict[int, ModelRef] = {}
    for model in task.models.values():
        if id(model.model) not in refs:
            parts = take_apart(model.model)
            weights = ray.put({name: tensor.numpy() for name, tensor in parts.state.items()})
            refs[id(model.model)] = ModelRef(model.source, parts.config, weights)
    return {seat: refs[id(model.model)] for seat, model in task.models.items()}


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
    rollouts, gradient = config.rollouts, config.gradient
    modules = {
        seat: RLModuleSpec(
            module_class=DialogueModule,
            observation_space=observations,
            action_space=actions,
            model_config={"architecture": dict(architectures[seat])},
        )
        for seat in config.trained_seats
    }
    return build_rllib_config(
        config,
        AlgorithmParts(
            algorithm=DialogueAlgorithm,
            runner=DialogueEnvRunner,
            learner=DialogueLearner,
            modules=modules,
            spaces=(observations, actions),
            env_config={"runner": runner, "experiment": config},
            runner_settings={"num_envs_per_env_runner": rollouts.num_envs_per_env_runner},
            gradient_settings=gradient,
            schedules=Schedules(_learning_rate(config), constant(gradient.entropy_coefficient)),
            temperature=config.sampling.temperature,
            batch_size=rollouts.dialogues_per_iteration,
            minibatch_size=gradient.minibatch_size,
            sample_timeout_s=rollouts.sample_timeout_s,
        ),
    )


def _learning_rate(config: DialogueDistortConfig) -> Line:
    """PPO's falls; the rate of REINFORCE stays."""
    gradient = config.gradient
    if isinstance(gradient, DialoguePPOConfig):
        final, length = gradient.learning_rate_final, gradient.anneal_iterations
        return Line(gradient.learning_rate, final, length)
    return constant(gradient.learning_rate)
