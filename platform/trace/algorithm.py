"""One iteration on written traces, and what RLlib is told of it: write, pay, update."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS

from parley.platform.engine.rllib.gradient_learner import Schedules
from parley.platform.engine.rllib.rllib_config import AlgorithmParts, build_rllib_config
from parley.platform.engine.rllib.schedules import Fall, constant
from parley.platform.engine.rllib.sequence_algorithm import SequenceAlgorithm
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


class TraceAlgorithm(SequenceAlgorithm):
    """Writes and learns; the order of the runners and their number change nothing."""

    work_name = "groups of traces"

    def setup(self, config: Any) -> None:
        """Start runners and learners."""
        super().setup(config)
        self.task: WritingTask = self.config.env_config["task"]
        self.groups_per_iteration = self.config.num_env_runners
        self.written = WrittenFigures(0, 0.0, 0.0, 0.0)

    def sample(self) -> list[TraceGroup]:
        """Write the iteration's groups."""
        first = self.iterations_done * self.groups_per_iteration
        return self.write(range(first, first + self.groups_per_iteration))

    def learn(self, sampled: Sequence[TraceGroup]) -> None:
        """Update on the groups."""
        played = [part for group in sampled for part in group.parts]
        self.written = measure_written(played)
        self.num_env_steps += self.written.num_tokens
        order = np.random.default_rng([self.task.seed, ROW_STREAM, self.iterations_done])
        self.learn_rows({DEFAULT_MODULE_ID: make_rows(played, self.gradient, order)})
        self.iterations_done += 1

    def write(self, numbers: Iterable[int]) -> list[TraceGroup]:
        """The groups of these numbers, written with the weights of now, in their order.

        Raises:
            RunnerError: a runner failed at its work.
            SamplingError: groups are missing; see `SequenceAlgorithm.gather`.
        """
        state = self.publish_weights()
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
        seed=config.seed,
    )


def build_trace_config(config: TraceConfig, task: WritingTask) -> PPOConfig:
    """The RLlib configuration of an experiment.

    The counters' transitions are not snapped here, where they are learned: what is written and
    what is learned must be one function with a gradient. Evaluation snaps them where it shall.
    """
    ppo, rollouts, vocab_size = config.ppo, config.rollouts, task.language.vocab_size
    longest = max(task.language.num_tokens(size) for size in task.sizes)
    observations = gymnasium.spaces.Box(0, vocab_size - 1, (longest,), np.int64)
    actions: gymnasium.Space[Any] = gymnasium.spaces.Discrete(vocab_size)
    settings = {**config.model.model_dump(), "vocab_size": vocab_size, "snap_transitions": False}
    spec = RLModuleSpec(
        module_class=TraceModule,
        observation_space=observations,
        action_space=actions,
        model_config={"policy": config.policy, "settings": settings, "seed": config.seed},
    )
    return build_rllib_config(
        config,
        AlgorithmParts(
            algorithm=TraceAlgorithm,
            runner=TraceEnvRunner,
            learner=TraceLearner,
            modules={DEFAULT_MODULE_ID: spec},
            spaces=(observations, actions),
            env_config={"task": task},
            gradient_settings=ppo,
            schedules=Schedules(
                Fall(ppo.learning_rate, ppo.num_iterations), constant(ppo.entropy_coefficient)
            ),
            batch_size=rollouts.num_env_runners * rollouts.traces_per_env_runner,
            minibatch_size=ppo.minibatch_traces,
            sample_timeout_s=rollouts.sample_timeout_s,
        ),
    )
