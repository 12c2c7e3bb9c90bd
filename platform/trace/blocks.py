"""Blocks of batches of true traces, each a function of the seed and the block's number.

Pure numpy: the processes that make blocks load neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import END, IntArray, Language, Traces
from parley.envs.trace.split import draw_split

NUMBER = np.int16
"""How token ids and labels travel; no alphabet comes near its 32,767."""


class TraceBatch(NamedTuple):
    """B traces of similar length, right-padded to T tokens; see `language.Traces`."""

    tokens: NDArray[np.int16]
    """[B, T]"""
    labels: NDArray[np.int16]
    """[B, T]"""
    num_tokens: int
    """Tokens without the padding."""


@dataclass(frozen=True)
class BlockRecipe:
    """What all blocks of a training have in common."""

    language: Language
    sizes: Sequence[int]
    """Sizes to draw from, all with the same probability."""
    holdout: float
    """Share of all inputs that never appear."""
    batch_tokens: int
    """Most tokens of a batch, padding included; at least those of the longest trace."""
    num_batches: int
    """Batches of a block."""
    seed: int


def make_block(recipe: BlockRecipe, block: int) -> list[TraceBatch]:
    """Draw inputs, write their traces, sort them by length, cut them into shuffled batches.

    Raises:
        ValueError: a size has no inputs to train on.
    """
    generator = np.random.default_rng([recipe.seed, block])
    sizes = _draw_sizes(recipe, generator)
    traces: dict[int, Traces] = {}
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        inputs = draw_split(
            recipe.language, int(size), int(count), generator, "training", recipe.holdout
        )
        traces[int(size)] = recipe.language.write_traces(int(size), inputs)
    owners = np.repeat([*traces], [len(t.lengths) for t in traces.values()])
    rows = np.concatenate([np.arange(len(t.lengths)) for t in traces.values()])
    lengths = np.concatenate([t.lengths for t in traces.values()])
    order = np.argsort(-lengths, kind="stable")
    edges = _cut(lengths[order], recipe.batch_tokens, recipe.num_batches)
    groups = [order[start:stop] for start, stop in pairwise(edges)]
    return [
        _stack(traces, owners[groups[place]], rows[groups[place]])
        for place in generator.permutation(len(groups))
    ]


def _draw_sizes(recipe: BlockRecipe, generator: np.random.Generator) -> IntArray:
    """As many random sizes int64 [N] as fill the batches of a block."""
    num_tokens = np.array([recipe.language.num_tokens(size) for size in recipe.sizes])
    most = recipe.num_batches * (recipe.batch_tokens // int(num_tokens.min()))
    choices = generator.integers(len(num_tokens), size=most)
    lengths = num_tokens[choices]
    # One row more never needs fewer batches, so that bisection finds the last that fits.
    low, high = recipe.num_batches, most
    while low < high:
        middle = (low + high + 1) // 2
        descending = -np.sort(-lengths[:middle])
        fits = len(_fill(descending, recipe.batch_tokens)) - 1 <= recipe.num_batches
        low, high = (middle, high) if fits else (low, middle - 1)
    chosen: IntArray = np.asarray(recipe.sizes, np.int64)[choices[:low]]
    return chosen


def _fill(lengths: IntArray, batch_tokens: int) -> list[int]:
    """Where batches begin, and the end, when each takes as many rows as it can hold.

    Args:
        lengths: int64 [N], descending: the first row of a batch is its longest.
        batch_tokens: most tokens of a batch, padding included.
    """
    edges = [0]
    while edges[-1] < len(lengths):
        rows = batch_tokens // int(lengths[edges[-1]])
        edges.append(min(edges[-1] + rows, len(lengths)))
    return edges


def _cut(lengths: IntArray, batch_tokens: int, num_batches: int) -> list[int]:
    """As `_fill`, into exactly `num_batches`: traces may be shorter than the longest of their size,
    and leave a batch over."""
    edges = _fill(lengths, batch_tokens)
    while len(edges) - 1 < num_batches:
        widest = int(np.argmax(np.diff(edges)))
        edges.insert(widest + 1, (edges[widest] + edges[widest + 1]) // 2)
    return edges


def _stack(traces: dict[int, Traces], owners: IntArray, rows: IntArray) -> TraceBatch:
    """One batch of rows int64 [B] out of the traces of sizes `owners` int64 [B]."""
    lengths = np.zeros(len(rows), np.int64)
    for size in np.unique(owners):
        lengths[owners == size] = traces[size].lengths[rows[owners == size]]
    width = int(lengths.max())
    tokens = np.full((len(rows), width), END, NUMBER)
    labels = np.full((len(rows), width), IGNORED_LABEL, NUMBER)
    for size in np.unique(owners):
        here = owners == size
        taken = rows[here]
        columns = min(width, traces[size].tokens.shape[1])
        tokens[here, :columns] = traces[size].tokens[taken, :columns]
        labels[here, :columns] = traces[size].labels[taken, :columns]
    return TraceBatch(tokens, labels, int(lengths.sum()))
