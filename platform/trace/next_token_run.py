"""The trace job: a token language is learned from an endless stream of true traces.

Ray workers write the traces, Ray Train learns them, and meanwhile this process lets the model write
held-out traces and executes them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from parley.envs.trace.split import draw_split
from parley.platform.engine.next_token.mutation_ramp import MutationRamp
from parley.platform.engine.next_token.run import (
    NextTokenPlan,
    NextTokenRun,
    train_next_token,
)
from parley.platform.engine.next_token.worker import TrainingJob
from parley.platform.engine.torch.threads import limit_threads
from parley.platform.records import Facts, Metrics, Result, Row, Settings, State
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.runs.kinds import kind_facts
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.terminal.progress import Column
from parley.platform.trace.blocks import BlockRecipe
from parley.platform.trace.evaluation.measure import MODULE, TraceTask, measure
from parley.platform.trace.evaluation.plots import plot_trace_curve
from parley.platform.trace.outcome import keep_outcome
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.stream import StreamTask
from parley.platform.trace.warm_start import load_trace_start
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM
from parley.policies.token.building import save_policy

COLUMNS = (
    Column("iteration", "step"),
    Column("tokens_per_s", "tokens/s"),
    Column("train_loss", "train loss", ".4f"),
    Column("exact_match", "exact match", ".3f"),
    Column("illegal_rate", "illegal", ".3f"),
    Column("nats_over_optimal", "nats over optimal", ".4f"),
)
EARLY_STOP_ROWS = 2
"""Rows of metrics in a row that must reach `training.stop_exact_match`."""


def run_trace(config: TraceConfig, run_folder: RunFolder, resume: bool) -> Result:
    """Learn a language from its traces, then measure the best policy on held-out inputs.

    Raises:
        KeyboardInterrupt: stopped by a signal; everything is saved.
        ConfigError, TraceInputError: the batches, the split or the cluster do not fit the language.
        CheckpointError: `init_from` does not fit.
        NonFiniteLossError, WorkersFailedError: training failed; the checkpoints so far stand.
    """
    task = TraceTask.from_config(config)
    check_inputs(config, task)
    begun = resume and any(run_folder.checkpoints.iterdir())
    start = load_trace_start(config).state_dict() if config.init_from and not begun else None
    plan = NextTokenPlan(
        make_run=lambda stop, progress: TraceRun(config, run_folder, task, start),
        columns=COLUMNS,
        num_processes=config.stream.num_workers + max(1, config.learner.num_learners),
        measuring=f"evaluating sizes {', '.join(map(str, config.evaluation_sizes))}",
        other_cpus=1,
        others="the stream of traces",
    )
    return train_next_token(config, plan, resume)


class TraceRun(NextTokenRun):
    """A language to learn, and executed traces as the measure.

    Args:
        config: the experiment.
        run_folder: where everything is written.
        task: the language, and which inputs are held out.
        start: state dict of the policy to begin with; fresh weights where absent.
    """

    def __init__(
        self,
        config: TraceConfig,
        run_folder: RunFolder,
        task: TraceTask,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config = config
        self.task = task
        self.num_exact_rows = 0
        """Newest rows of metrics, one after the other, that reach the early stop."""
        super().__init__(config, run_folder, policy_settings(config, task), start)

    @property
    def finished(self) -> bool:
        """Whether all gradient steps are done, or enough is exact."""
        return super().finished or self.num_exact_rows >= EARLY_STOP_ROWS

    def make_job(self) -> TrainingJob:
        """Batches of the stream; mutation noise that rises where it is wanted."""
        config, training = self.config, self.config.training
        recipe = BlockRecipe(
            self.task.language,
            tuple(config.language.sizes),
            config.stream.holdout,
            training.batch_tokens,
            config.stream.block_batches,
            config.seed,
        )
        ramp = None
        if training.mutation_noise > 0.0:
            ramp = MutationRamp(
                config.model.mutation_noise,
                training.mutation_noise,
                training.mutation_loss,
                training.mutation_ramp_steps,
            )
        return TrainingJob(
            config.policy,
            dict(self.policy_settings),
            StreamTask(recipe, config.stream.num_workers, config.stream.prefetch_blocks),
            training,
            config.learner,
            config.seed,
            config.checkpoint.interval_iterations,
            ramp,
        )

    def measure_row(self) -> Row:
        """A few held-out traces of every trained size, on inputs of their own."""
        row = measure_selection(self.policy.language_model, self.config, self.task)
        least, wanted = row["least_exact_match"], self.config.training.stop_exact_match
        reached = wanted is not None and least is not None and least >= wanted
        self.num_exact_rows = self.num_exact_rows + 1 if reached else 0
        return row

    def rank(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        """Exact match, then fewer nats; of a source, nats alone."""
        nats = -float(row["nats_over_optimal"])
        return (nats,) if self.task.language.is_source else (float(row["exact_match"]), nats)

    def progress_state(self) -> State:
        """With the rows that count for the early stop."""
        return {**super().progress_state(), "num_exact_rows": self.num_exact_rows}

    def restore_progress(self, state: Mapping[str, Any]) -> None:
        """Take over a `progress_state`."""
        super().restore_progress(state)
        self.num_exact_rows = state["num_exact_rows"]

    def facts(self) -> Facts:
        """See `trace_facts`."""
        return trace_facts(self.config)

    def save_policies(self, folder: Path) -> None:
        """One policy."""
        save_policy(self.policy, folder / MODULE)

    def measure_best(self, checkpoint: Checkpoint) -> Metrics:
        """What `parley evaluate` measures."""
        with limit_threads(self.config.learner.num_threads):
            return keep_outcome(checkpoint.path, self.run_folder.path)

    def remarks(self) -> Sequence[str]:
        """Why it ended early, if it did."""
        if super().finished:
            return ()
        return (
            f"stopped after {self.snapshot.step} steps: at every trained size, "
            f"{self.config.training.stop_exact_match:g} of the selection inputs are exact",
        )

    def draw(self, rows: Sequence[Mapping[str, object]], path: Path) -> None:
        """Loss above exact match."""
        plot_trace_curve(rows, self.config, path)


def policy_settings(config: TraceConfig, task: TraceTask) -> Settings:
    """Sizes of the policy, for `policies.building`."""
    return {**config.model.model_dump(), "vocab_size": task.language.vocab_size}


def measure_selection(model: DHMMGPT2ForCausalLM, config: TraceConfig, task: TraceTask) -> Metrics:
    """A few held-out traces of every trained size, on inputs of their own: figures for a row of
    metrics, by which the best checkpoint is chosen."""
    evaluation, sizes = config.evaluation, task.trained_sizes
    started = time.perf_counter()
    with limit_threads(config.learner.num_threads):
        figures = measure(
            model,
            task,
            sizes,
            -(-evaluation.selection_inputs // len(sizes)),
            evaluation.seed + 1,
            evaluation.batch_tokens,
        )
    return {
        "exact_match": figures.exact_match,
        "least_exact_match": figures.least_exact_match,
        "illegal_rate": figures.illegal_rate,
        "nats_over_optimal": figures.nats_over_optimal,
        "eval_seconds": time.perf_counter() - started,
    }


def trace_facts(config: TraceConfig) -> Facts:
    """What the `policy.json` of a trace checkpoint tells: enough to measure the policy again."""
    return {
        **kind_facts(config),
        "policy": config.policy,
        "language": config.language.model_dump(),
        "holdout": config.stream.holdout,
        "evaluation": config.evaluation.model_dump(),
    }


def check_inputs(config: TraceConfig, task: TraceTask) -> None:
    """Make sure that there are inputs to train on and to measure on, and that batches hold them.

    Raises:
        ConfigError: a trace is longer than a batch, or a size has no inputs to train on.
        TraceInputError: a size has no held-out inputs.
    """
    longest = max(task.language.num_tokens(size) for size in task.trained_sizes)
    if longest > config.training.batch_tokens:
        raise ConfigError(
            f"training.batch_tokens {config.training.batch_tokens} is less than the {longest} "
            f"tokens of one trace of {task.language.name} up to size {config.language.max_size}; "
            f"raise the first or lower language.max_size"
        )
    generator = np.random.default_rng(config.seed)
    for size in task.trained_sizes:
        try:
            draw_split(task.language, size, 1, generator, "training", task.holdout)
        except ValueError as error:
            raise ConfigError(f"stream.holdout {task.holdout}: {error}") from error
    for size in {*task.trained_sizes, *config.evaluation_sizes}:
        task.draw_heldout(size, 1, config.evaluation.seed)
