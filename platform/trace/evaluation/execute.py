"""One size of a token language: what a model writes, executed, and what it pays for true traces.

Two passes over the same inputs. In the first the model writes each trace by itself, and the trace
is executed. In the second it reads the true traces, and every label counts on its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import (
    END,
    FloatArray,
    IntArray,
    Language,
    Traces,
    Verdict,
)
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM
from parley.policies.dhmm_gpt2.continuation import continue_traces


@dataclass(frozen=True)
class WrittenTraces:
    """What a model wrote for N prompts of one size."""

    verdicts: list[Verdict]
    tokens: list[IntArray]
    """N rows int64 [length]: prompt and continuation, END included where it was written."""
    prompt_length: int
    num_to_write: IntArray
    """int64 [N]: tokens that the true trace has after the prompt."""
    seconds: float
    """Of writing, without the execution."""

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Bool [N]: the executed trace has given the right answer."""
        return np.array([verdict.exact for verdict in self.verdicts])

    @property
    def illegal(self) -> NDArray[np.bool_]:
        """Bool [N]: the executor has refused a token."""
        return np.array([verdict.illegal_at is not None for verdict in self.verdicts])

    @property
    def first_errors(self) -> FloatArray:
        """Float64 [N]: how many tokens were right before the first that is not the true trace's;
        NaN where the trace is exact."""
        return np.array(
            [
                np.nan
                if verdict.exact or verdict.differs_at is None
                else verdict.differs_at - self.prompt_length
                for verdict in self.verdicts
            ]
        )

    @property
    def num_written(self) -> int:
        """Tokens that were written, prompts left out."""
        return sum(len(row) - self.prompt_length for row in self.tokens)


@dataclass(frozen=True)
class LabelScores:
    """What N true traces of one size cost a model that reads them, all arrays float64 [N]."""

    nats: FloatArray
    """Sum over the labels of a trace."""
    optimal_nats: FloatArray
    """The same of the optimal predictor."""
    num_right: FloatArray
    """Labels that were the likeliest token."""
    num_labels: FloatArray

    @property
    def excess(self) -> FloatArray:
        """Nats above the optimum, summed over a trace."""
        return self.nats - self.optimal_nats


def write_and_execute(
    model: DHMMGPT2ForCausalLM,
    language: Language,
    size: int,
    inputs: IntArray,
    seed: int,
    batch_tokens: int,
) -> WrittenTraces:
    """Let a model continue the prompts of inputs int64 [N, K] and execute every trace.

    The likeliest token is written, of a source a drawn one.

    Args:
        model: the writer.
        language: its language.
        size: of the inputs.
        inputs: int64 [N, K].
        seed: of the drawn tokens.
        batch_tokens: tokens of the traces that are written together.
    """
    traces = language.write_traces(size, inputs)
    longest = language.num_tokens(size)
    generator = torch.Generator().manual_seed(seed) if language.is_source else None
    rows: list[IntArray] = []
    seconds = 0.0
    for part in split_rows(len(inputs), longest, batch_tokens):
        prompts = torch.from_numpy(traces.tokens[part, : traces.prompt_length])
        started = time.perf_counter()
        written = continue_traces(model, prompts, longest, END, generator)
        tokens, lengths = written.tokens.cpu().numpy(), written.lengths.tolist()
        seconds += time.perf_counter() - started
        rows += [row[:length] for row, length in zip(tokens, lengths, strict=True)]
    verdicts = language.verify_all(size, inputs, rows)
    num_to_write = traces.lengths - traces.prompt_length
    return WrittenTraces(verdicts, rows, traces.prompt_length, num_to_write, seconds)


def score_labels(
    model: nn.Module, traces: Traces, optimal_nats: FloatArray, batch_tokens: int
) -> LabelScores:
    """Let a model read true traces and compare what it expects with the labels.

    Args:
        model: int64 [B, T] to an output with `logits` [B, T, V]; a causal language model.
        traces: N of one size.
        optimal_nats: float64 [N, T], of the optimal predictor; see `Language.optimal_nats`.
        batch_tokens: tokens that are read together.
    """
    counts = traces.labels[:, 1:] != IGNORED_LABEL
    nats = np.zeros(counts.shape)
    right = np.zeros(counts.shape, bool)
    for part in split_rows(len(counts), traces.tokens.shape[1], batch_tokens):
        labels = torch.from_numpy(np.where(counts[part], traces.labels[part, 1:], 0))
        log_probs = read_log_probs(model, traces.tokens[part, :-1])
        nats[part] = -log_probs.gather(-1, labels.unsqueeze(-1)).squeeze(-1).numpy()
        right[part] = (log_probs.argmax(-1) == labels).numpy()
    return LabelScores(
        nats=(nats * counts).sum(1),
        optimal_nats=(optimal_nats[:, 1:] * counts).sum(1),
        num_right=(right & counts).sum(1).astype(np.float64),
        num_labels=counts.sum(1).astype(np.float64),
    )


@torch.inference_mode()
def read_log_probs(model: nn.Module, tokens: IntArray) -> torch.Tensor:
    """The model's log-probabilities [B, T, V] of what follows each of tokens int64 [B, T]."""
    device = next(model.parameters()).device
    logits: torch.Tensor = model(torch.from_numpy(tokens).to(device)).logits
    return logits.float().log_softmax(-1).cpu()


def split_rows(num_rows: int, row_tokens: int, batch_tokens: int) -> Iterator[slice]:
    """Consecutive rows, as many at a time as hold at most `batch_tokens` tokens, at least one."""
    rows = max(1, batch_tokens // row_tokens)
    for start in range(0, num_rows, rows):
        yield slice(start, start + rows)
