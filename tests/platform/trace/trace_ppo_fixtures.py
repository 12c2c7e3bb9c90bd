"""A tiny model that writes traces, and RLlib's parts around it in this process, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from torch.nn import functional as F

from parley.envs.trace.split import draw_split
from parley.platform.engine.rllib.gradients.ppo import PPO
from parley.platform.engine.rllib.restorable_algorithm import POLICY_PREFIX
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.trace.algorithm import build_trace_config, make_writing_task
from parley.platform.trace.evaluation.measure import MODULE
from parley.platform.trace.learner import TraceLearner, make_rows
from parley.platform.trace.next_token_run import trace_facts
from parley.platform.trace.runner import TraceEnvRunner
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.writing import (
    TraceGroup,
    write_group,
)
from parley.policies.token.actor_critic import LanguageActorCritic, optimiser_groups
from parley.policies.token.building import build_policy, save_policy

Rows = dict[str, NDArray[Any]]
TINY: dict[str, Any] = {
    "algorithm": "ppo",
    "language": {
        "name": "sorting",
        "options": {"num_values": 4},
        "min_size": 2,
        "max_size": 3,
    },
    "model": {
        "embed_size": 16,
        "heads": 2,
        "layers": 1,
        "ff_hidden": 32,
        "num_states": 4,
        "positions": "rotary",
    },
    "rollouts": {"num_env_runners": 1, "traces_per_env_runner": 12},
    "ppo": {"num_iterations": 4, "minibatch_traces": 6, "num_epochs": 2},
    "evaluation": {"inputs_per_size": 20, "selection_inputs": 20},
}


def make_config(**sections: dict[str, Any]) -> TraceConfig:
    """The tiny experiment, with some keys of some sections changed."""
    changed = {name: {**TINY.get(name, {}), **keys} for name, keys in sections.items()}
    return TraceConfig.model_validate(TINY | changed)


def make_policy(
    config: TraceConfig, seed: int = 0, sharpness: float = 4.0, value_scale: float = 20.0
) -> LanguageActorCritic:
    """Fresh weights whose draws are far from uniform, and whose values are far from zero."""
    torch.manual_seed(seed)
    settings = {
        **config.model.model_dump(),
        "vocab_size": config.language.build().vocab_size,
        "snap_transitions": False,
    }
    policy = build_policy(config.policy, settings)
    assert isinstance(policy, LanguageActorCritic)
    with torch.no_grad():
        policy.language_model.lm_head.weight *= sharpness
        policy.value_head.weight *= value_scale
    return policy.eval()


def make_runner(config: TraceConfig) -> TraceEnvRunner:
    return TraceEnvRunner(config=build(config), worker_index=1)


def build(config: TraceConfig) -> PPOConfig:
    return build_trace_config(config, make_writing_task(config))


def state_of(policy: LanguageActorCritic) -> dict[str, Any]:
    """The policy's weights as runners and learners take them."""
    weights = {f"{POLICY_PREFIX}{name}": w.numpy() for name, w in policy.state_dict().items()}
    return {COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: weights}}


def make_learner(config: TraceConfig, policy: LanguageActorCritic) -> TraceLearner:
    """A learner in this process that holds the policy's weights."""
    rllib = build(config)
    learner = rllib.build_learner(spaces=make_runner(config).get_spaces())
    assert isinstance(learner, TraceLearner)
    learner.build()
    learner.set_state(state_of(policy))
    return learner


def save_tracer(folder: Path, experiment: ExperimentConfig, num_steps: int = 0) -> Path:
    """A checkpoint as a next-token run writes it, after a few plain steps on true traces."""
    config = experiment
    assert isinstance(config, TraceConfig)
    policy = make_policy(config, config.seed, sharpness=1.0, value_scale=1.0)
    language, generator = config.language.build(), np.random.default_rng(config.seed)
    model = policy.language_model.train()
    optimiser = torch.optim.AdamW(optimiser_groups(model, 3e-3, 0.01, 5.0), lr=3e-3)
    for step in range(num_steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * group["lr_scale"] * (1.0 - step / num_steps)
        size = int(generator.choice(config.language.sizes))
        inputs = draw_split(language, size, 32, generator, "training", config.stream.holdout)
        traces = language.write_traces(size, inputs)
        logits = model(torch.from_numpy(traces.tokens[:, :-1])).logits
        labels = torch.from_numpy(traces.labels[:, 1:])
        optimiser.zero_grad()
        F.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    store = CheckpointStore(folder / "checkpoints")
    facts = trace_facts(config)
    store.save(1, lambda to: save_policy(policy, to / MODULE), facts, {}, best_score=0.0)
    return folder


def write(config: TraceConfig, policy: LanguageActorCritic, number: int = 0) -> TraceGroup:
    return write_group(policy, make_writing_task(config), number)


def rows_of(config: TraceConfig, policy: LanguageActorCritic, number: int = 0) -> Rows:
    return rows_from(config, write(config, policy, number))


def rows_from(config: TraceConfig, group: TraceGroup) -> Rows:
    gradient = PPO(config.ppo)
    return make_rows(group.parts, gradient, np.random.default_rng(0))
