"""RLlib's algorithm for written traces: one iteration and its wiring.

`TraceAlgorithm.training_step` reads as data flows: write, pay, update. `build_trace_config` is the
only place that knows RLlib's configuration calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module import MultiRLModuleSpec, RLModuleSpec
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS

from parley.platform.cluster.devices import rllib_settings
from parley.platform.engine.rllib.placement import WAIT_S, runner_settings, wait_s
from parley.platform.engine.rllib.restorable_ppo import NO_CONNECTOR_STATES, IterationTimes
from parley.platform.engine.rllib.sequence_algorithm import SequencePPO
from parley.platform.trace.learner import TraceLearner, make_rows
from parley.platform.trace.runner import TraceEnvRunner, TraceRollout
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.writing import PlayedTraces, TraceGroup, WritingTask
from parley.policies.token.row_module import TraceModule

ROW_STREAM = 0x2005
"""Tells the order of the rows from the run's other random streams."""


@dataclass(frozen=True)
class WrittenFigures:
    """What one iteration's traces were, as they were drawn."""

    num_tokens: int
    """That count."""
    reward: float
    """Mean sum of a trace's rewards."""
    exact: float
    """Share of exact traces."""
    illegal: float
    """Share of traces that an illegal token ended."""


class TraceAlgorithm(SequencePPO):
    """Writes and learns; the order of the runners and their number change nothing."""

    work_name = "groups of traces"

    def setup(self, config: Any) -> None:
        """Start runners and learners."""
        super().setup(config)
        self.task: WritingTask = self.config.env_config["task"]
        self.groups_per_iteration = self.config.num_env_runners
        self.written = WrittenFigures(0, 0.0, 0.0, 0.0)

    def training_step(self) -> None:
        """Write the iteration's groups, update on them."""
        self.begin_iteration()
        started = time.perf_counter()
        first = self.iterations_done * self.groups_per_iteration
        groups = self.write(range(first, first + self.groups_per_iteration))
        sampled = time.perf_counter()
        played = [part for group in groups for part in group.parts]
        self.written = measure_written(played)
        self.begin_update()
        self.num_env_steps += self.written.num_tokens
        order = np.random.default_rng([self.task.seed, ROW_STREAM, self.iterations_done])
        self.learn_rows({DEFAULT_MODULE_ID: make_rows(played, order)})
        self.iterations_done += 1
        self.times = IterationTimes(sampled - started, time.perf_counter() - sampled)

    def write(self, numbers: Iterable[int]) -> list[TraceGroup]:
        """The groups of these numbers, written with the weights of now, in their order.

        Raises:
            RunnerError: a runner failed at its work.
            SamplingError: groups are missing; see `SequencePPO.gather`.
        """
        self._update_number += 1
        state = ray.put(self.runner_state())
        rollouts: list[TraceRollout] = self.gather(
            "write", numbers, lambda shares: {"state": state, "shares": shares}
        )
        self.metrics.aggregate([r.metrics for r in rollouts], key=ENV_RUNNER_RESULTS)
        found = {group.number: group for rollout in rollouts for group in rollout.groups}
        return [found[number] for number in sorted(found)]


def measure_written(played: Sequence[PlayedTraces]) -> WrittenFigures:
    """The figures of one iteration's traces."""
    return WrittenFigures(
        num_tokens=sum(int(part.counts.sum()) for part in played),
        reward=float(np.concatenate([part.rewards.sum(1) for part in played]).mean()),
        exact=float(np.concatenate([part.exact for part in played]).mean()),
        illegal=float(np.concatenate([part.illegal for part in played]).mean()),
    )


def make_writing_task(config: TraceConfig) -> WritingTask:
    """What an experiment's runners write."""
    return WritingTask(
        language=config.language.build(),
        sizes=tuple(config.language.sizes),
        holdout=config.stream.holdout,
        group_size=config.rollouts.traces_per_env_runner,
        gamma=config.ppo.gamma,
        gae_lambda=config.ppo.gae_lambda,
        seed=config.seed,
    )


def build_trace_config(config: TraceConfig, task: WritingTask) -> PPOConfig:
    """The RLlib configuration of an experiment.

    The counters' transitions are not snapped here, where they are learned: what is written and
    what is learned must be one function with a gradient. Evaluation snaps them where it shall.
    """
    vocab_size = task.language.vocab_size
    longest = max(task.language.num_tokens(size) for size in task.sizes)
    observations = gymnasium.spaces.Box(0, vocab_size - 1, (longest,), np.int64)
    actions: gymnasium.Space[Any] = gymnasium.spaces.Discrete(vocab_size)
    settings = {**config.model.model_dump(), "vocab_size": vocab_size, "snap_transitions": False}
    num_shares = max(1, config.learner.num_learners)  # a gradient step joins one of each learner
    num_traces = config.rollouts.num_env_runners * config.rollouts.traces_per_env_runner
    spec = RLModuleSpec(
        module_class=TraceModule,
        observation_space=observations,
        action_space=actions,
        model_config={"policy": config.policy, "settings": settings, "seed": config.seed},
    )
    return (
        PPOConfig(algo_class=TraceAlgorithm)
        .environment(
            env=None,
            env_config={"task": task, WAIT_S: wait_s(config.ray)},
            observation_space=observations,
            action_space=actions,
            disable_env_checking=True,
        )
        .resources(placement_strategy=config.rollouts.placement.upper())
        .framework("torch")
        .debugging(seed=config.seed, log_level="ERROR")
        .reporting(min_time_s_per_iteration=None, metrics_num_episodes_for_smoothing=100)
        .env_runners(
            env_runner_cls=TraceEnvRunner,
            **runner_settings(config.rollouts),
            sample_timeout_s=config.rollouts.sample_timeout_s,
            create_local_env_runner=False,
            **NO_CONNECTOR_STATES,
        )
        .fault_tolerance(restart_failed_env_runners=True, max_num_env_runner_restarts=1000)
        .learners(
            **rllib_settings(config.learner),
            add_default_connectors_to_learner_pipeline=False,
            learner_class=TraceLearner,
            learner_config_dict={
                "ppo": config.ppo,
                "seed": config.seed,
                "num_threads": config.learner.num_threads,
            },
        )
        .training(
            num_epochs=config.ppo.num_epochs,
            minibatch_size=max(1, config.ppo.minibatch_traces // num_shares),
            train_batch_size_per_learner=num_traces // num_shares,
            use_kl_loss=False,
        )
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: spec}))
        .multi_agent(
            policies=[DEFAULT_MODULE_ID],
            policies_to_train=[DEFAULT_MODULE_ID],
            policy_mapping_fn=lambda agent_id, episode=None, **_: DEFAULT_MODULE_ID,
        )
    )
