"""Models that know the answer, and checkpoints of a trace run, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import END, IntArray, Traces
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore
from parley.platform.trace.evaluation.measure import MODULE, TraceTask
from parley.platform.trace.next_token_run import policy_settings, trace_facts
from parley.platform.trace.settings import TraceConfig
from parley.policies.dhmm_gpt2.continuation import Continuations
from parley.policies.token.building import build_policy, save_policy

TINY = {
    "language": {"name": "addition", "min_size": 1, "max_size": 2},
    "model": {"embed_size": 16, "layers": 1, "heads": 2, "ff_hidden": 16, "num_states": 4},
    "stream": {"holdout": 0.3},
    "evaluation": {"sizes": [1, 2, 3], "inputs_per_size": 20},
}


def make_config(**changes: Any) -> TraceConfig:
    """A tiny experiment; `changes` replace or extend its tables."""
    table = {**TINY}
    for key, value in changes.items():
        old = table.get(key)
        table[key] = (
            {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return TraceConfig.model_validate(table)


def save_untrained(folder: Path, config: TraceConfig) -> Checkpoint:
    """A checkpoint of a freshly drawn model, as a run of the experiment would write it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = build_policy(config.policy, policy_settings(config, TraceTask.from_config(config)))
    return CheckpointStore(folder).save(
        1, lambda path: save_policy(policy, path / MODULE), trace_facts(config), {}, 0.5
    )


class Reader(nn.Module):
    """A language model whose distributions are given: tokens int64 [N, T] to [N, T, V]."""

    def __init__(self, probabilities: Callable[[IntArray], np.ndarray[Any, Any]]) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))  # models have a device
        self.probabilities = probabilities

    def forward(self, tokens: Tensor) -> SimpleNamespace:
        given = torch.from_numpy(self.probabilities(tokens.numpy()))
        return SimpleNamespace(logits=given.clamp_min(1e-30).log())


def know_labels(traces: Traces, vocab_size: int) -> Reader:
    """A model that is certain of every label of these traces, in this order."""
    wanted = np.where(traces.labels == IGNORED_LABEL, 0, traces.labels)[:, 1:]
    return Reader(lambda tokens: np.eye(vocab_size)[wanted[: len(tokens)]])


def make_writer(
    task: TraceTask,
    sizes: Sequence[int],
    count: int,
    seed: int,
    spoil: Callable[[int, int, IntArray], None] = lambda size, number, row: None,
) -> Callable[..., Continuations]:
    """A stand-in for `continue_traces` that writes true traces, spoilt as it is told.

    Args:
        task, sizes, count, seed: of the held-out inputs whose traces it knows.
        spoil: (size, number of the input, int64 [T]) changes what is written, in place.
    """
    known: dict[bytes, IntArray] = {}
    for size in sizes:
        traces = task.language.write_traces(size, task.draw_heldout(size, count, seed))
        for number, row in enumerate(traces.tokens):
            prompt = row[: traces.prompt_length].tobytes()
            spoil(size, number, row)
            known[prompt] = row

    def write(model: object, prompts: Tensor, *_: object) -> Continuations:
        rows = np.stack([known[prompt.tobytes()] for prompt in prompts.numpy()])
        is_end = rows[:, prompts.shape[1] :] == END
        lengths = np.where(is_end.any(1), is_end.argmax(1) + 1 + prompts.shape[1], rows.shape[1])
        unused = torch.zeros(1)
        return Continuations(torch.from_numpy(rows), torch.from_numpy(lengths), unused, None)

    return write
