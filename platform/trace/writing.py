"""Writes groups of traces and says what every written token earned: no Ray here.

    inputs of the training part ── written in one batch per size ──► rewards

Group number g is a function of the weights and of (seed, g) alone: neither the process that writes
it nor the number of processes changes a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from parley.envs.trace.language import END, IntArray, Language
from parley.envs.trace.reward import trace_rewards
from parley.envs.trace.split import draw_split
from parley.policies.dhmm_gpt2.continuation import continue_traces
from parley.policies.token.actor_critic import LanguageActorCritic

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

GROUP_STREAM = 0x7ACE
"""Tells the groups' random streams from those of the rest of a run."""


@dataclass(frozen=True)
class WritingTask:
    """What is written, and how it is judged."""

    language: Language
    sizes: tuple[int, ...]
    """Of the inputs; a group holds about as many of each."""
    holdout: float
    """Share of the inputs that are never used here."""
    group_size: int
    """Traces of one group."""
    seed: int


@dataclass(frozen=True)
class PlayedTraces:
    """N traces of one size; W tokens were written after the prompts."""

    size: int
    prompt_length: int
    tokens: IntArray
    """int64 [N, prompt_length + W]."""
    counts: IntArray
    """int64 [N]: written tokens that count; the last of them has ended the episode."""
    log_probs: Floats
    """[N, W], of each written token when it was drawn."""
    values: Floats
    """[N, W], of the state before it."""
    rewards: Floats
    """[N, W]."""
    exact: Flags
    """[N]."""
    illegal: Flags
    """[N]."""


@dataclass(frozen=True)
class TraceGroup:
    """One numbered piece of work."""

    number: int
    parts: list[PlayedTraces]
    """One for each size that was drawn."""


def write_group(policy: LanguageActorCritic, task: WritingTask, number: int) -> TraceGroup:
    """Draw the inputs of group `number`, write on their prompts, reward what was written."""
    stream = np.random.SeedSequence([task.seed, GROUP_STREAM, number])
    inputs = np.random.default_rng(stream)
    draws = torch.Generator().manual_seed(int(stream.generate_state(1)[0]))
    sizes = np.resize(inputs.permutation(task.sizes), task.group_size)
    parts = [
        _write_part(policy, task, int(size), int(count), inputs, draws)
        for size, count in zip(*np.unique(sizes, return_counts=True), strict=True)
    ]
    return TraceGroup(number, parts)


def _write_part(
    policy: LanguageActorCritic,
    task: WritingTask,
    size: int,
    count: int,
    generator: np.random.Generator,
    draws: torch.Generator,
) -> PlayedTraces:
    language = task.language
    inputs = draw_split(language, size, count, generator, "training", task.holdout)
    true = language.write_traces(size, inputs)
    written = continue_traces(
        policy.language_model,
        torch.from_numpy(true.tokens[:, : true.prompt_length]),
        language.num_tokens(size),
        END,
        draws,
        policy.value_head,
    )
    assert written.values is not None, "a value head was given"
    tokens = written.tokens.numpy()
    earned = trace_rewards(language, size, inputs, tokens)
    return PlayedTraces(
        size=size,
        prompt_length=true.prompt_length,
        tokens=tokens,
        counts=earned.counts,
        log_probs=written.log_probs.numpy(),
        values=written.values.numpy(),
        rewards=earned.rewards.astype(np.float32),
        exact=earned.exact,
        illegal=earned.illegal,
    )
