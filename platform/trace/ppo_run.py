"""The job that goes on by reinforcement: traces are written, executed, paid for and learned from.

RLlib trains, this module measures on held-out inputs, checkpoints, reports and resumes. The
weights of the beginning are measured and saved as iteration 0, so that the best checkpoint is
never worse than what the run began with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from parley.platform.cluster.connection import connect_ray
from parley.platform.engine.rllib.recovery import (
    attended,
    iterate_until_stopped,
    recover,
)
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import Interrupting, StopSignal
from parley.platform.settings.errors import ConfigError
from parley.platform.terminal.progress import Column, Goal, Progress
from parley.platform.terminal.quiet import quiet_rllib
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
CURVE_FILE = "learning_curve.png"
LOSSES = ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction")


def run_trace_ppo(config: TraceConfig, run_folder: RunFolder, resume: bool) -> dict[str, Any]:
    """Go on from `init_from` (or from random weights) by PPO; measure the best policy.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        ConfigError, TraceInputError: the language has no right answers, or no inputs.
        CheckpointError: `init_from` or the checkpoint to resume does not fit.
    """
    task = TraceTask.from_config(config)
    _check(config, task)
    checkpoint = CheckpointStore(run_folder.checkpoints).find("last") if resume else None
    start = None
    if config.init_from and checkpoint is None:
        start = load_trace_start(config).state_dict()
    quiet_rllib()
    goal = Goal("iteration", config.ppo.num_iterations)
    num_processes = config.rollouts.num_env_runners + config.learner.num_learners
    store = CheckpointStore(run_folder.checkpoints)
    with StopSignal(config.checkpoint.stop_grace_s) as stop, Progress(COLUMNS, goal) as progress:

        def attempt(checkpoint: Checkpoint | None) -> TracePPORun:
            with progress.status(f"starting {config.rollouts.num_env_runners} env runners"):
                run = TracePPORun(config, run_folder, task, stop.interrupting)
            with attended(run):
                if checkpoint is not None:
                    run.restore(checkpoint)
                else:
                    with progress.status("measuring the policy before training"):
                        progress.update(run.begin(start))
                progress.resume_from(run.iteration)
                iterate_until_stopped(run, stop, progress)
            return run

        with connect_ray(config.ray, num_processes, progress):
            run = recover(attempt, checkpoint, store, config.learner.max_restarts, progress)
        with progress.status("evaluating the best checkpoint"):
            return run.conclude(stopped=not run.finished)


class TracePPORun:
    """The state of one run between iterations.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        task: the language, and which inputs are held out.
        interrupting: makes the block in which an iteration may be given up.
    """

    def __init__(
        self,
        config: TraceConfig,
        run_folder: RunFolder,
        task: TraceTask,
        interrupting: Interrupting = nullcontext,
    ) -> None:
        self.config = config
        self.interrupting = interrupting
        self.run_folder = run_folder
        self.task = task
        rllib = build_trace_config(config, make_writing_task(config))
        self.algorithm = cast("TraceAlgorithm", rllib.build_algo())
        self.algorithm.copy_updates_over_s = config.checkpoint.stop_grace_s / 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            policy = build_policy(config.policy, policy_settings(config, task))
        self.policy = cast("LanguageActorCritic", policy)
        self.store = CheckpointStore(run_folder.checkpoints, config.checkpoint.keep)
        self.iteration = 0
        self.seconds = 0.0
        self.start: dict[str, Any] = {}
        """Figures of the policy before training, on the inputs of the final evaluation."""
        self.best: dict[str, Any] | None = None
        """The row of metrics of the best policy so far."""
        self._saved_iteration = -1

    @property
    def finished(self) -> bool:
        """Whether the run has all its iterations."""
        return self.iteration >= self.config.ppo.num_iterations

    def begin(self, weights: Mapping[str, Tensor] | None) -> dict[str, Any]:
        """Measure and save the policy of the beginning: `weights`, or fresh ones; its row."""
        self.run_folder.drop_metrics_after(-1)
        if weights is not None:
            self.algorithm.load_weights({DEFAULT_MODULE_ID: weights})
        started = time.perf_counter()
        row = {"iteration": 0, **self._evaluate()}
        self.start = self._measure_start()
        self.seconds += time.perf_counter() - started
        return self._record({**row, "seconds": self.seconds})

    def iterate(self) -> dict[str, Any]:
        """One iteration: write, learn, perhaps evaluate and save; its row of metrics."""
        started = time.perf_counter()
        with self.interrupting():
            losses = self.algorithm.train()["learners"][DEFAULT_MODULE_ID]
        self.iteration += 1
        train_seconds = time.perf_counter() - started
        is_due = self.finished or self.iteration % self.config.ppo.eval_interval == 0
        evaluation = self._evaluate() if is_due else {}
        self.seconds += time.perf_counter() - started
        written, times = self.algorithm.written, self.algorithm.times
        return self._record(
            {
                "iteration": self.iteration,
                "env_steps": self.algorithm.num_env_steps,
                "seconds": self.seconds,
                "tokens_per_s": written.num_tokens / train_seconds,
                "sample_s": times.sample_s,
                "learn_s": times.learn_s,
                "reward": written.reward,
                "sampled_exact_match": written.exact,
                "sampled_illegal_rate": written.illegal,
                **{name: float(losses[name]) for name in LOSSES},
                **evaluation,
            }
        )

    def save(self, best_score: float | None = None) -> None:
        """Write a checkpoint of this iteration, unless there is one."""
        if self._saved_iteration == self.iteration and best_score is None:
            return
        self._pull_weights()
        facts = trace_facts(self.config)
        self.store.save(self.iteration, self._save_policies, facts, self._state(), best_score)
        self._saved_iteration = self.iteration

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where the checkpoint was written."""
        state = checkpoint.read_trainer_state()
        self.iteration = self._saved_iteration = state["iteration"]
        self.seconds = state["seconds"]
        self.start = state["start"]
        self.best = state["best"]
        self.algorithm.restore_training(state["algorithm"])
        self.run_folder.drop_metrics_after(self.iteration)

    def close(self) -> None:
        """Stop runners and learners."""
        self.algorithm.stop()

    def conclude(self, stopped: bool) -> dict[str, Any]:
        """Measure the best policy, draw the curve, write the result.

        Raises:
            KeyboardInterrupt: it was stopped; the result says so.
        """
        checkpoint = self.store.find("best")
        assert checkpoint is not None, "the policy of the beginning was saved"
        rows = self.run_folder.read_metrics()
        plot_trace_curve(rows, self.config, self.run_folder.path / CURVE_FILE)
        result: dict[str, Any] = {
            "status": "stopped" if stopped else "done",
            "seconds": self.seconds,
            "metrics": rows[-1],
            "checkpoint": str(checkpoint.path.relative_to(self.run_folder.path)),
        }
        if not stopped:
            assert self.best is not None, "the policy of the beginning was measured"
            result["metrics"] = {
                **keep_outcome(checkpoint.path, self.run_folder.path),
                **self.start,
                "best_iteration": self.best["iteration"],
                "train_iterations": self.iteration,
                "train_tokens": self.algorithm.num_env_steps,
                "train_seconds": self.seconds,
            }
        self.run_folder.write_result(result)
        if stopped:
            raise KeyboardInterrupt
        return result

    def _record(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write the row down, then a checkpoint where one is due."""
        # Before the checkpoint: resuming drops rows that are ahead of it, but cannot make them up.
        self.run_folder.append_metrics(row)
        measured = row.get("exact_match") is not None
        if measured and (self.best is None or _rank(row) > _rank(self.best)):
            self.best = row
            self.save(best_score=row["exact_match"])
        elif measured or self.iteration % self.config.checkpoint.interval_iterations == 0:
            self.save()
        return row

    def _evaluate(self) -> dict[str, Any]:
        self._pull_weights()
        return measure_selection(self.policy.language_model, self.config, self.task)

    def _measure_start(self) -> dict[str, Any]:
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

    def _save_policies(self, folder: Path) -> None:
        save_policy(self.policy, folder / MODULE)

    def _state(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "seconds": self.seconds,
            "start": self.start,
            "best": self.best,
            "algorithm": self.algorithm.training_state(),
        }


def _rank(row: Mapping[str, Any]) -> tuple[float, float]:
    """What is larger for the better policy: exact traces, then legal ones."""
    return row["exact_match"], -row["illegal_rate"]


def _check(config: TraceConfig, task: TraceTask) -> None:
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
