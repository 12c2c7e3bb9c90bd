"""How well a model knows a token language: it writes held-out traces, which are executed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import ValidationError
from torch import nn

from parley.envs.trace.language import IntArray, Language
from parley.envs.trace.split import draw_split
from parley.platform.engine.torch.device import choose_device
from parley.platform.errors import InputError, display_path
from parley.platform.records import Metrics
from parley.platform.runs.checkpoints import Checkpoint, CheckpointError, resolve_checkpoint
from parley.platform.terminal.activities import each
from parley.platform.trace.evaluation.execute import score_labels, write_and_execute
from parley.platform.trace.evaluation.figures import SizeFigures, TraceFigures
from parley.platform.trace.evaluation.sources import describe_source
from parley.platform.trace.settings import LanguageConfig, TraceConfig, TraceEvaluationConfig
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.building import load_policy

MODULE = "tracer"
"""The policy's name inside a checkpoint."""
WORKFLOW = "trace"


class TraceInputError(InputError):
    """Sizes that cannot be measured: no inputs are held out, or the model cannot reach so far."""


@dataclass(frozen=True)
class TraceTask:
    """What a model was taught: a language, the sizes of its training, the share held out."""

    language: Language
    trained_sizes: Sequence[int]
    holdout: float

    @classmethod
    def from_config(cls, config: TraceConfig) -> Self:
        """The task of an experiment."""
        return cls(config.language.build(), tuple(config.language.sizes), config.stream.holdout)

    def draw_heldout(self, size: int, count: int, seed: int) -> IntArray:
        """Held-out inputs int64 [N, K] by (seed, size).

        Of a source `count` of them. Of other languages every input stands once, so that a small
        size has fewer.

        Raises:
            TraceInputError: nothing is held out of this size.
        """
        generator = np.random.default_rng([seed, size])
        try:
            inputs = draw_split(self.language, size, count, generator, "heldout", self.holdout)
        except ValueError as error:
            raise TraceInputError(f"nothing to measure at size {size}: {error}") from error
        return inputs if self.language.is_source else np.unique(inputs, axis=0)


@dataclass(frozen=True)
class Tracer:
    """A trained model with what it was taught and how it is measured."""

    model: DHMMGPT2ForCausalLM
    task: TraceTask
    evaluation: TraceEvaluationConfig
    checkpoint: Checkpoint

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the final evaluation."""
        return self.evaluation.sizes or tuple(self.task.trained_sizes)


def measure(
    model: DHMMGPT2ForCausalLM,
    task: TraceTask,
    sizes: Sequence[int],
    inputs_per_size: int,
    seed: int,
    batch_tokens: int = 65_536,
    details: bool = False,
) -> TraceFigures:
    """Let a model write and read held-out traces; the same arguments give the same figures.

    Args:
        model: on its device; in evaluation mode meanwhile.
        task: what it was taught.
        sizes: of the inputs, trained or beyond.
        inputs_per_size: held-out inputs of each; fewer where a size has fewer.
        seed: of the inputs, and of the tokens that are drawn where the language is a source.
        batch_tokens: tokens that are written or read together.
        details: also what only this kind of language has; see `describe_source`.

    Raises:
        TraceInputError: nothing is held out of a size, or the model cannot reach so far.
    """
    check_reach(model, task.language, sizes)
    inputs = {size: task.draw_heldout(size, inputs_per_size, seed) for size in sorted(set(sizes))}
    with _evaluation_mode(model):
        figures = TraceFigures(
            [
                _measure_size(model, task.language, size, given, seed, batch_tokens)
                for size, given in each(list(inputs.items()), "writing traces", "sizes")
            ],
            task.trained_sizes,
            task.language.is_source,
        )
        if not details:
            return figures
        main_size = (figures.trained or figures.sizes)[-1].size
        found = describe_source(model, task.language, inputs, main_size, batch_tokens)
    return replace(figures, details=found)


def evaluate_path(path: Path, episodes: int | None = None, seed: int | None = None) -> Metrics:
    """Evaluate a run's best checkpoint, or the checkpoint at `path`.

    Args:
        path: run or checkpoint.
        episodes: held-out inputs of each size; None: as the run's settings say.
        seed: of the inputs; None: as the run's settings say.

    Raises:
        CheckpointError: there is no sound checkpoint of a trace run.
        TraceInputError: a size cannot be measured.
    """
    return evaluate_tracer(load_tracer(path), episodes, seed).metrics()


def evaluate_tracer(
    tracer: Tracer, inputs_per_size: int | None = None, seed: int | None = None
) -> TraceFigures:
    """All figures of a model, as its settings say where nothing else is given."""
    chosen = tracer.evaluation
    return measure(
        tracer.model,
        tracer.task,
        tracer.sizes,
        inputs_per_size or chosen.inputs_per_size,
        chosen.seed if seed is None else seed,
        chosen.batch_tokens,
        details=True,
    )


def load_tracer(path: Path) -> Tracer:
    """The model of a run or checkpoint, on the GPU where there is one.

    Raises:
        CheckpointError: there is no sound checkpoint, or it is of another kind of run.
    """
    checkpoint = resolve_checkpoint(path)
    task, evaluation = _read_facts(checkpoint)
    folder = checkpoint.policy_folders.get(MODULE)
    if folder is None:
        raise CheckpointError(
            f"{display_path(checkpoint.path)} holds no {MODULE} below policies/; name a "
            f"checkpoint of a trace run"
        )
    try:
        policy = load_policy(folder)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(policy, LanguageActorCritic):
        raise CheckpointError(f"{display_path(folder)} is no language model and writes no traces")
    model = policy.to(choose_device(1.0)).eval().language_model
    if model.config.vocab_size != task.language.vocab_size:
        raise CheckpointError(
            f"{display_path(folder)} knows {model.config.vocab_size} tokens, but the alphabet of "
            f"{task.language.name} has {task.language.vocab_size}; the checkpoint is of another "
            f"language"
        )
    return Tracer(model, task, evaluation, checkpoint)


def check_reach(model: DHMMGPT2ForCausalLM, language: Language, sizes: Sequence[int]) -> None:
    """Make sure that a model has positions for the traces of all sizes.

    Raises:
        TraceInputError: it has not; the message names the first such size.
    """
    for size in sizes:
        try:
            num_tokens = language.num_tokens(size)
        except ValueError as error:
            raise TraceInputError(str(error)) from error
        if model.config.positions == "learned" and num_tokens > model.config.max_len:
            raise TraceInputError(
                f"size {size} of {language.name} needs {num_tokens} tokens, but the model has "
                f"{model.config.max_len} learned positions; train with a larger model.max_len or "
                f'with model.positions = "rotary"'
            )


def _measure_size(
    model: DHMMGPT2ForCausalLM,
    language: Language,
    size: int,
    inputs: IntArray,
    seed: int,
    batch_tokens: int,
) -> SizeFigures:
    written = write_and_execute(model, language, size, inputs, seed, batch_tokens)
    traces = language.write_traces(size, inputs)
    labels = score_labels(model, traces, language.optimal_nats(traces), batch_tokens)
    return SizeFigures(size, written, labels)


def _read_facts(checkpoint: Checkpoint) -> tuple[TraceTask, TraceEvaluationConfig]:
    """What `policy.json` says of the language and of how it is measured."""
    facts = checkpoint.read_policy_facts()
    if facts.get("workflow") != WORKFLOW:
        raise CheckpointError(
            f"{display_path(checkpoint.path)} is not of a trace run; give a folder that "
            f"`parley train trace/...` wrote"
        )
    try:
        language = LanguageConfig.model_validate(facts["language"])
        task = TraceTask(language.build(), tuple(language.sizes), float(facts["holdout"]))
        return task, TraceEvaluationConfig.model_validate(facts["evaluation"])
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{display_path(checkpoint.path)}: its policy.json is not that of a trace run "
            f"({type(error).__name__}: {error})"
        ) from error


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
