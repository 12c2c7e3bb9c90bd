"""The run that goes on by reinforcement: traces are written, executed, paid for and learned from.

The weights of the beginning are measured and saved as iteration 0, so that the best checkpoint is
never worse than what the run began with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from parley.platform.engine.rllib.run import (
    LOSSES,
    Display,
    Iteration,
    PolicyRun,
    find_start,
    train_policies,
)
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.records import Facts, Metrics, Result, Row, State
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import Interrupting
from parley.platform.settings.errors import ConfigError
from parley.platform.terminal.progress import Column, Goal, Progress
from parley.platform.trace.algorithm import (
    TraceAlgorithm,
    build_trace_config,
    make_writing_task,
)
from parley.platform.trace.evaluation.measure import MODULE, TraceTask, measure
from parley.platform.trace.evaluation.plots import plot_trace_curve
from parley.platform.trace.next_token_run import (
    check_inputs,
    measure_selection,
    policy_settings,
    trace_facts,
)
from parley.platform.trace.outcome import keep_outcome
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.warm_start import load_trace_start
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.building import build_policy, save_policy

COLUMNS = (
    Column("iteration", "iteration"),
    Column("tokens_per_s", "tokens/s"),
    Column("reward", "reward", ".3f"),
    Column("sampled_exact_match", "exact as drawn", ".3f"),
    Column("kl", "KL", ".5f"),
    Column("entropy", "entropy", ".4f"),
    Column("exact_match", "exact match", ".3f"),
    Column("illegal_rate", "illegal", ".3f"),
)


def run_trace_ppo(config: TraceConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Go on from `init_from` (or from random weights) by PPO; measure the best policy.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        ConfigError, TraceInputError: the language has no right answers, or no inputs.
        CheckpointError: `init_from` or the checkpoint to resume does not fit.
    """
    task = TraceTask.from_config(config)
    check_reinforced(config, task)
    checkpoint = find_start(run_folder, resume)
    start: Mapping[str, Tensor] | None = None
    if config.init_from and checkpoint is None:
        start = load_trace_start(config).state_dict()
    goal = Goal("iteration", config.ppo.num_iterations)
    display = Display(COLUMNS, goal, "evaluating the best checkpoint")

    def make_run(interrupting: Interrupting) -> TracePPORun:
        return TracePPORun(config, run_folder, task, interrupting, start)

    return train_policies(config, checkpoint, make_run, run_folder, display)


class TracePPORun(PolicyRun):
    """A run whose policy writes traces.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        task: the language, and which inputs are held out.
        interrupting: makes the block in which an iteration may be given up.
        start: weights to begin with; fresh ones where absent.
    """

    algorithm: TraceAlgorithm

    def __init__(
        self,
        config: TraceConfig,
        run_folder: RunFolder,
        task: TraceTask,
        interrupting: Interrupting = nullcontext,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config = config
        self.task = task
        self.start_weights = start
        algorithm = build_trace_config(config, make_writing_task(config)).build_algo()
        super().__init__(config, run_folder, cast("TraceAlgorithm", algorithm), interrupting)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            policy = build_policy(config.policy, policy_settings(config, task))
        self.policy = cast("LanguageActorCritic", policy)
        self.start: Metrics = {}
        """Figures of the policy before training, on the inputs of the final evaluation."""
        self.best: Row | None = None
        """The row of metrics of the best policy so far."""

    @property
    def finished(self) -> bool:
        """Whether the run has all its iterations."""
        return self.iteration >= self.config.ppo.num_iterations

    def begin(self, progress: Progress) -> Row:
        """Measure the policy of the beginning."""
        if self.start_weights is not None:
            self.algorithm.load_weights({DEFAULT_MODULE_ID: self.start_weights})
        started = time.perf_counter()
        with progress.status("measuring the policy before training"):
            row = {"iteration": 0, **self.evaluate_if_due()}
            self.start = self._measure_start()
        self.seconds += time.perf_counter() - started
        return {**row, "seconds": self.seconds}

    def measure(self, iteration: Iteration) -> Row:
        """Speed, what was written and paid, and losses."""
        written, times = self.algorithm.written, self.algorithm.times
        losses = iteration.losses[DEFAULT_MODULE_ID]
        return {
            "tokens_per_s": written.num_tokens / iteration.seconds,
            "sample_s": times.sample_s,
            "learn_s": times.learn_s,
            "reward": written.reward,
            "sampled_exact_match": written.exact,
            "sampled_illegal_rate": written.illegal,
            **{name: float(losses[name]) for name in LOSSES},
        }

    def evaluate_if_due(self) -> Row:
        """A few held-out traces of every trained size; before training, and at the end too."""
        if not self.finished and self.iteration % self.config.ppo.eval_interval:
            return {}
        self._pull_weights()
        return measure_selection(self.policy.language_model, self.config, self.task)

    def score(self, row: Row) -> float | None:
        """The share of exact traces."""
        exact: float | None = row.get("exact_match")
        return exact

    def new_best(self, row: Row) -> float | None:
        """By exact traces, then by legal ones."""
        score = self.score(row)
        if score is None or (self.best is not None and _rank(row) <= _rank(self.best)):
            return None
        self.best = row
        return score

    def is_save_due(self, row: Row) -> bool:
        """Also after every evaluation."""
        return self.score(row) is not None or super().is_save_due(row)

    def draw(self, rows: Sequence[Mapping[str, object]], path: Path) -> None:
        """Losses above exact match."""
        plot_trace_curve(rows, self.config, path)

    def measure_end(self, checkpoint: Checkpoint | None) -> Metrics:
        """What `parley evaluate` measures, compared with the beginning."""
        assert checkpoint is not None and self.best is not None, "the beginning was saved"
        return {
            **keep_outcome(checkpoint.path, self.run_folder.path),
            **self.start,
            "best_iteration": self.best["iteration"],
            "train_iterations": self.iteration,
            "train_tokens": self.algorithm.num_env_steps,
            "train_seconds": self.seconds,
        }

    def facts(self) -> Facts:
        """See `trace_facts`."""
        return trace_facts(self.config)

    def save_policies(self, folder: Path) -> None:
        """One policy."""
        self._pull_weights()
        save_policy(self.policy, folder / MODULE)

    def own_state(self) -> State:
        """The figures of the beginning, and of the best policy."""
        return {"start": self.start, "best": self.best}

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take over an `own_state`."""
        self.start, self.best = state["start"], state["best"]

    def _measure_start(self) -> Metrics:
        """What the final evaluation will measure, of the trained sizes, before training."""
        evaluation = self.config.evaluation
        with limit_threads(self.config.learner.num_threads):
            figures = measure(
                self.policy.language_model,
                self.task,
                self.task.trained_sizes,
                evaluation.inputs_per_size,
                evaluation.seed,
                evaluation.batch_tokens,
            )
        metrics = figures.metrics()
        return {
            f"{name}_start{suffix}": metrics[name + suffix]
            for name in ("exact_match", "illegal_rate")
            for suffix in ("", "_ci95")
        }

    def _pull_weights(self) -> None:
        self.policy.load_state_dict(self.algorithm.policy_weights()[DEFAULT_MODULE_ID])


def _rank(row: Mapping[str, Any]) -> tuple[float, float]:
    """What is larger for the better policy: exact traces, then legal ones."""
    return row["exact_match"], -row["illegal_rate"]


def check_reinforced(config: TraceConfig, task: TraceTask) -> None:
    """Refuse what cannot be learned by reinforcement.

    Raises:
        ConfigError, TraceInputError: the language has no right answers, or no inputs.
    """
    if task.language.is_source:
        raise ConfigError(
            f"algorithm=ppo needs a language with right answers, but {task.language.name} is a "
            f"random source: its best policy under any reward says the likeliest symbol only; "
            f"use algorithm=next_token"
        )
    num_traces = config.rollouts.num_env_runners * config.rollouts.traces_per_env_runner
    if config.ppo.minibatch_traces > num_traces:
        raise ConfigError(
            f"ppo.minibatch_traces {config.ppo.minibatch_traces} is more than the {num_traces} "
            f"traces of one iteration (rollouts.num_env_runners x "
            f"rollouts.traces_per_env_runner); lower the first or raise one of the others"
        )
    check_inputs(config, task)
