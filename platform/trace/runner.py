"""The env runner of traces: writes its share of an iteration's groups with RLlib's module.

It keeps nothing between requests but its weights, so that a restarted runner needs no care.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import gymnasium
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from parley.platform.engine.rllib.weight_receiver import WeightReceiver
from parley.platform.records import Spaces
from parley.platform.trace.writing import TraceGroup, WritingTask, write_group
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.row_module import TraceModule


@dataclass
class TraceRollout:
    """What one runner brings back."""

    worker_index: int
    groups: list[TraceGroup] = field(default_factory=list)
    seconds: float = 0.0
    metrics: Any = None
    """RLlib's runner metrics."""
    error: str = ""
    """The traceback of an error that a fresh runner would meet again."""

    @property
    def numbers(self) -> set[int]:
        """The groups that were written."""
        return {group.number for group in self.groups}

    def raise_fault(self) -> None:
        """A trace has no fault of its own: what is wrong is an error."""


class TraceEnvRunner(WeightReceiver):
    """Writes groups of traces; the algorithm's `env_config` holds `task`, a `WritingTask`."""

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.task: WritingTask = self.config.env_config["task"]
        torch.set_num_threads(1)  # runners share a machine: more threads would wait for each other
        self.make_env()
        self.make_module()

    @property
    def policy(self) -> LanguageActorCritic:
        """What writes."""
        return cast("TraceModule", self.module[DEFAULT_MODULE_ID]).policy

    def write(self, state: Mapping[str, Any], shares: Mapping[int, Sequence[int]]) -> TraceRollout:
        """Take the learners' weights, then write this runner's share of the groups.

        An error is brought back: raised here, RLlib would restart the runner indefinitely, in
        silence.
        """
        rollout = TraceRollout(self.worker_index or 0)
        started = time.perf_counter()
        try:
            self.set_state(state)
            for number in shares.get(rollout.worker_index, ()):
                rollout.groups.append(write_group(self.policy, self.task, number))
        except Exception:
            rollout.error = traceback.format_exc()
        rollout.seconds = time.perf_counter() - started
        parts = [part for group in rollout.groups for part in group.parts]
        num_tokens = sum(int(part.counts.sum()) for part in parts)
        self._count_env_steps(num_tokens, num_tokens)
        rollout.metrics = self.get_metrics()
        return rollout

    def sample(self, **kwargs: Any) -> list[Any]:
        """RLlib's own entry; groups are written by `write`, which is told which."""
        raise NotImplementedError(
            "sample() cannot say which groups; ask for them by write(state, shares)"
        )

    def get_spaces(self) -> Spaces:
        """Observation and action space of the module; those of the token environments."""
        spaces = cast(
            "tuple[gymnasium.Space[Any], gymnasium.Space[Any]]",
            (self.config.observation_space, self.config.action_space),
        )
        return {
            INPUT_ENV_SPACES: spaces,
            INPUT_ENV_SINGLE_SPACES: spaces,
            DEFAULT_MODULE_ID: spaces,
        }
