"""What is the same for all contestants: the rules, the clock, the greedy evaluation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.envs.cartpole.vector import VectorCartPole

Act = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""Raw states [B, 4] to the greedy actions [B]."""


@dataclass(frozen=True)
class Rules:
    """When a policy is looked at and what counts as solved."""

    env_step_limit: int = 150_000
    eval_interval: int = 4_096
    """Environment steps between evaluations."""
    eval_episodes: int = 32
    eval_seed: int = 10_000
    """Apart from the seeds of training; the same episodes in every evaluation."""
    target_return: float = 475.0
    """Mean return of an evaluation that counts as solved; the limit of CartPole-v1 is 500."""


@dataclass(frozen=True)
class Evaluation:
    """One look at a policy in training."""

    env_steps: int
    train_seconds: float
    mean_return: float


@dataclass
class ScoreSheet:
    """What one contestant has done with one seed."""

    rules: Rules
    launched_s: float
    """`time.monotonic()` of the launch of the process."""
    startup_seconds: float = 0.0
    """From the launch to the first training step: imports, Ray, environments, networks."""
    env_steps: int = 0
    train_seconds: float = 0.0
    aside_seconds: float = 0.0
    """Evaluation, and the checkpoints of those that write some."""
    evaluations: list[Evaluation] = field(default_factory=list)
    _next_evaluation: int = 0

    def start(self) -> None:
        """Training begins now."""
        self.startup_seconds = time.monotonic() - self.launched_s
        self._next_evaluation = self.rules.eval_interval

    @property
    def is_solved(self) -> bool:
        """Whether the last evaluation reached the target."""
        return bool(
            self.evaluations and self.evaluations[-1].mean_return >= self.rules.target_return
        )

    @property
    def is_finished(self) -> bool:
        """Whether training ends here."""
        return self.is_solved or self.env_steps >= self.rules.env_step_limit

    def add_training(self, env_steps: int, seconds: float) -> None:
        """Note `seconds` of training that ended after `env_steps` since the start."""
        self.env_steps = env_steps
        self.train_seconds += seconds

    def add_evaluation(self, mean_return: float) -> None:
        """Note the result of an evaluation."""
        self.evaluations.append(Evaluation(self.env_steps, self.train_seconds, mean_return))

    def evaluate_if_due(self, act: Act, is_last: bool = False) -> None:
        """Evaluate at the first chance after every `eval_interval` steps, and at the end."""
        if not (self.env_steps >= self._next_evaluation or self.is_finished or is_last):
            return
        self._next_evaluation += self.rules.eval_interval
        while self._next_evaluation <= self.env_steps:
            self._next_evaluation += self.rules.eval_interval
        started = time.perf_counter()
        self.add_evaluation(play_greedy_episodes(act, self.rules))
        self.aside_seconds += time.perf_counter() - started

    def to_json(self, num_threads: int) -> str:
        """One line; see `Trial` in `benchmarks/cartpole.py`."""
        figures: dict[str, Any] = {
            "is_solved": self.is_solved,
            "env_steps": self.env_steps,
            "train_seconds": self.train_seconds,
            "startup_seconds": self.startup_seconds,
            "aside_seconds": self.aside_seconds,
            "num_threads": num_threads,
            "evaluations": [asdict(evaluation) for evaluation in self.evaluations],
        }
        return json.dumps(figures)


def play_greedy_episodes(act: Act, rules: Rules) -> float:
    """Mean return of CartPole-v1 on raw states.

    The episodes start as those do on which parley's policies are evaluated
    (`parley.platform.control.evaluation.play_episodes`).
    """
    seeds = [np.random.SeedSequence([rules.eval_seed + 1, i]) for i in range(rules.eval_episodes)]
    carts = VectorCartPole(len(seeds), seeds=seeds, auto_reset=False)
    carts.reset()
    returns = np.zeros(len(seeds))
    while carts.running.any():
        actions = act(carts.states[:, 0].astype(np.float32))
        returns += carts.step(actions[:, None]).rewards[:, 0]
    return float(returns.mean())
