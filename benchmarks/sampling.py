"""Environment steps per second of RLlib's multi-agent runner and of parley's, in one process.

    python -m benchmarks.sampling [--quick] [--json FILE]

`MultiCartPole`, 8 environments with 2 carts each, one thread, no remote actors. A call of `sample`
plays the same number of steps in each runner and brings back the same things: actions with their
log-probabilities in lists of episodes. parley's runner also estimates values and advantages, which
RLlib leaves to its learner. The runners take turns within each repetition, so that a noisy machine
treats them alike; medians are shown, and ratios are taken within a repetition.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module import MultiRLModuleSpec, RLModuleSpec
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from torch import Tensor

from parley.envs.cartpole.multi import MultiCartPole
from parley.platform.control.algorithm import build_config
from parley.platform.control.runner import VectorEnvRunner
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.settings.loading import load_experiment
from parley.platform.terminal.quiet import quiet_libraries
from parley.policies.token.window_module import TokenModule

NUM_ENVS, NUM_CARTS = 8, 2
MODULE_ID = "carts"
POLICIES = ("trivial", "mlp")
STOCK, STOCK_LISTS, PARLEY = "RLlib", "RLlib, no numpy", "parley"


class TrivialModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """Either action with the same probability, value 0: what is left is the runner's own time."""

    def setup(self) -> None:
        """Nothing to build."""

    def get_non_inference_attributes(self) -> list[str]:
        """Nothing is dropped for inference."""
        return []

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        return {Columns.ACTION_DIST_INPUTS: torch.zeros(len(batch[Columns.OBS]), 2)} | {
            Columns.VF_PREDS: self.compute_values(batch)
        }

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Zeros [B]."""
        return torch.zeros(len(batch[Columns.OBS]))


@dataclass(frozen=True)
class Measurement:
    """What one runner did with one policy and one length of calls."""

    policy: str
    runner: str
    steps_per_call: int
    steps_per_s: list[float]
    """Environment steps per second, one for each repetition."""


def load_settings(policy: str, steps_per_call: int) -> CartPolePPOConfig:
    """The experiment's settings for one runner of 8 environments with 2 carts."""
    config = load_experiment(
        "cartpole/ppo",
        [
            "policy=mlp",
            f"env.num_carts={NUM_CARTS}",
            "rollouts.num_env_runners=1",
            f"rollouts.num_envs_per_env_runner={NUM_ENVS}",
            f"rollouts.rollout_fragment_length={steps_per_call // NUM_ENVS}",
            f"ppo.minibatch_size={min(512, steps_per_call)}",
        ],
    )
    assert isinstance(config, CartPolePPOConfig)
    return config


def make_module_spec(config: CartPolePPOConfig, policy: str) -> MultiRLModuleSpec:
    """The module that both runners build."""
    task = make_cartpole_task(config.env)
    settings = {
        "policy": "mlp",
        "settings": policy_settings(config.env, config.model),
        "seed": config.seed,
    }
    spec = RLModuleSpec(
        module_class=TrivialModule if policy == "trivial" else TokenModule,
        observation_space=task.observation_space,
        action_space=task.action_space,
        model_config={} if policy == "trivial" else settings,
    )
    return MultiRLModuleSpec(rl_module_specs={MODULE_ID: spec})


def make_stock_runner(
    config: CartPolePPOConfig, policy: str, episodes_to_numpy: bool
) -> MultiAgentEnvRunner:
    """RLlib's multi-agent runner with its default connectors."""
    rllib = (
        PPOConfig()
        .environment(
            MultiCartPole,
            env_config=config.env.model_dump(exclude={"shared_policy"}),
            disable_env_checking=True,
        )
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=NUM_ENVS,
            rollout_fragment_length=config.rollouts.rollout_fragment_length,
            episodes_to_numpy=episodes_to_numpy,
        )
        .multi_agent(policies={MODULE_ID}, policy_mapping_fn=lambda *_, **__: MODULE_ID)
        .rl_module(rl_module_spec=make_module_spec(config, policy))
        .debugging(seed=config.seed, log_level="ERROR")
    )
    rllib.validate()
    return MultiAgentEnvRunner(config=rllib, worker_index=0)


def make_parley_runner(config: CartPolePPOConfig, policy: str) -> VectorEnvRunner:
    """parley's runner as `WindowAlgorithm` makes it."""
    task = make_cartpole_task(config.env)
    rllib = build_config(config, task, policy_settings(config.env, config.model))
    rllib.rl_module(rl_module_spec=make_module_spec(config, policy))
    return VectorEnvRunner(config=rllib, worker_index=1)


def make_samplers(policy: str, steps_per_call: int) -> dict[str, Callable[[], Any]]:
    """One call of each runner's `sample`, with runners that have sampled once."""
    config = load_settings(policy, steps_per_call)
    stock = make_stock_runner(config, policy, episodes_to_numpy=True)
    lists = make_stock_runner(config, policy, episodes_to_numpy=False)
    parley = make_parley_runner(config, policy)
    samplers: dict[str, Callable[[], Any]] = {
        STOCK: lambda: stock.sample(num_timesteps=steps_per_call),
        STOCK_LISTS: lambda: lists.sample(num_timesteps=steps_per_call),
        PARLEY: parley.sample,
    }
    for sample in samplers.values():
        sample()
    return samplers


def measure(policy: str, steps_per_call: int, repetitions: int) -> list[Measurement]:
    """All runners in turn, again and again."""
    samplers = make_samplers(policy, steps_per_call)
    speeds: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(repetitions):
        for name, sample in samplers.items():
            started = time.perf_counter()
            episodes = sample()
            seconds = time.perf_counter() - started
            speeds[name].append(count_env_steps(episodes, steps_per_call) / seconds)
    return [Measurement(policy, name, steps_per_call, speed) for name, speed in speeds.items()]


def count_env_steps(episodes: Sequence[Any], steps_per_call: int) -> int:
    """Environment steps of a call.

    RLlib's multi-agent episodes count them; it rounds up to a whole step of all environments.
    parley's pieces are those of single agents, of which at most `NUM_CARTS` act in a step.

    Raises:
        RuntimeError: less was brought back than was asked for.
    """
    multi_agent = hasattr(episodes[0], "agent_episodes")
    num_steps = sum(len(episode) for episode in episodes) if multi_agent else steps_per_call
    agent_steps = sum(
        sum(map(len, e.agent_episodes.values())) if multi_agent else len(e) for e in episodes
    )
    if num_steps < steps_per_call or not num_steps <= agent_steps <= NUM_CARTS * num_steps:
        raise RuntimeError(
            f"{agent_steps} agent steps in {num_steps} environment steps, {steps_per_call} wanted"
        )
    return num_steps


def print_table(measurements: Sequence[Measurement]) -> None:
    """One row for each policy and length of calls."""
    print(f"MultiCartPole, {NUM_ENVS} x {NUM_CARTS}: environment steps per second, one thread")
    print(
        f"{'policy':>8}{'steps a call':>14}{STOCK:>10}{STOCK_LISTS:>18}{PARLEY:>10}"
        f"{'/ RLlib':>10}{'/ no numpy':>12}"
    )
    by_key = {(m.policy, m.steps_per_call, m.runner): m.steps_per_s for m in measurements}
    for policy, steps in dict.fromkeys((m.policy, m.steps_per_call) for m in measurements):
        stock, lists, parley = (
            by_key[policy, steps, name] for name in (STOCK, STOCK_LISTS, PARLEY)
        )
        medians = [statistics.median(speeds) for speeds in (stock, lists, parley)]
        ratios = [
            statistics.median(own / other for own, other in zip(parley, others, strict=True))
            for others in (stock, lists)
        ]
        print(
            f"{policy:>8}{steps:>14,}{medians[0]:>10,.0f}{medians[1]:>18,.0f}{medians[2]:>10,.0f}"
            f"{ratios[0]:>9.1f}x{ratios[1]:>11.1f}x"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="the same path with few steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    quiet_libraries()
    for name in ("ray._common.deprecation", "ray.rllib.algorithms.algorithm_config"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*Overriding environment rllib-multi-agent")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lengths, repetitions = ((128,), 2) if options.quick else ((1_024, 4_096), 7)
    try:
        measurements = [
            measurement
            for policy in POLICIES
            for steps_per_call in lengths
            for measurement in measure(policy, steps_per_call, repetitions)
        ]
    finally:
        torch.set_num_threads(threads)
    print_table(measurements)
    if options.json:
        options.json.write_text(json.dumps([asdict(m) for m in measurements], indent=2) + "\n")


if __name__ == "__main__":
    main()
