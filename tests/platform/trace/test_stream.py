"""The stream of true traces: what a block holds, and that nothing depends on who makes it when."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.addition import Addition
from parley.envs.trace.language import END, START, IntArray, Language, Traces
from parley.envs.trace.languages import build_language
from parley.envs.trace.split import is_heldout
from parley.platform.engine.next_token.gradient_step import TokenBatch
from parley.platform.trace.blocks import BlockRecipe, TraceBatch, make_block
from parley.platform.trace.stream import StreamTask, to_tensors

HOLDOUT = 0.3


def make_recipe(
    language: Language | None = None,
    sizes: tuple[int, ...] = (1, 2, 3, 4, 5, 6),
    batch_tokens: int = 512,
    seed: int = 0,
) -> BlockRecipe:
    return BlockRecipe(language or Addition(), sizes, HOLDOUT, batch_tokens, 8, seed)


def make_blocks(recipe: BlockRecipe, count: int) -> list[TraceBatch]:
    return [batch for block in range(count) for batch in make_block(recipe, block)]


class Recording(Addition):
    """Remembers the inputs whose traces it wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, IntArray]] = []

    def write_traces(self, size: int, inputs: IntArray) -> Traces:
        self.seen.append((size, inputs))
        return super().write_traces(size, inputs)


class Ragged(Addition):
    """Traces that end earlier than the longest of their size, by chance."""

    def write_traces(self, size: int, inputs: IntArray) -> Traces:
        traces = super().write_traces(size, inputs)
        lengths = traces.lengths - inputs[:, 0]
        beyond = np.arange(traces.tokens.shape[1]) >= lengths[:, None]
        return traces._replace(
            tokens=np.where(beyond, END, traces.tokens),
            labels=np.where(beyond, IGNORED_LABEL, traces.labels),
            lengths=lengths,
        )


def test_held_out_inputs_never_appear_and_all_sizes_do() -> None:
    language = Recording()
    make_blocks(make_recipe(language), 6)
    rows = {size: 0 for size in range(1, 7)}
    for size, inputs in language.seen:
        assert not is_heldout(language, size, inputs, HOLDOUT).any()
        rows[size] += len(inputs)
    mean = sum(rows.values()) / len(rows)
    assert all(0.75 * mean < count < 1.25 * mean for count in rows.values()), rows


@pytest.mark.parametrize("language", [Addition(), Ragged(), build_language("markov", {})])
def test_batches_are_full_and_of_similar_lengths(language: Language) -> None:
    sizes = (1, 2, 3, 4, 5, 6) if language.name == "addition" else (20, 24)
    recipe = make_recipe(language, sizes, batch_tokens=1024)
    batches = make_blocks(recipe, 4)
    assert len(batches) == 4 * recipe.num_batches
    padded = np.array([batch.tokens.size for batch in batches])
    assert padded.max() <= 1024
    share = 0.5 if isinstance(language, Ragged) else 0.9
    assert padded.mean() > share * 1024
    assert sum(batch.num_tokens for batch in batches) > 0.85 * padded.sum()


def test_a_batch_holds_true_traces_with_their_labels() -> None:
    language = Recording()
    batches = make_block(make_recipe(language), 0)
    known = {}
    for size, inputs in language.seen:
        traces = Addition().write_traces(size, inputs)
        for tokens, labels in zip(traces.tokens.tolist(), traces.labels.tolist(), strict=True):
            known[tuple(tokens)] = labels
    num_rows = 0
    for batch in batches:
        tensors = to_tensors(batch)
        assert tensors.inputs.dtype == tensors.targets.dtype == torch.int64
        assert torch.equal(tensors.inputs, torch.from_numpy(batch.tokens[:, :-1]).long())
        assert torch.equal(tensors.targets, torch.from_numpy(batch.labels[:, 1:]).long())
        lengths = [row.index(END) + 1 for row in batch.tokens.tolist()]
        assert tensors.num_tokens == sum(lengths) - len(lengths)
        for tokens, labels, length in zip(
            batch.tokens.tolist(), batch.labels.tolist(), lengths, strict=True
        ):
            assert tokens[0] == START and set(tokens[length:]) <= {END}
            assert labels[:length] == known[tuple(tokens[:length])]
            assert set(labels[length:]) <= {IGNORED_LABEL}
        num_rows += len(lengths)
    assert num_rows == sum(len(inputs) for _, inputs in language.seen)


def same(first: list[TraceBatch], second: list[TraceBatch]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(one.tokens, other.tokens) and np.array_equal(one.labels, other.labels)
        for one, other in zip(first, second, strict=True)
    )


def test_a_block_is_a_function_of_the_seed_and_its_number() -> None:
    assert same(make_block(make_recipe(), 3), make_block(make_recipe(), 3))
    assert not same(make_block(make_recipe(), 3), make_block(make_recipe(), 4))
    assert not same(make_block(make_recipe(), 3), make_block(make_recipe(seed=1), 3))


def test_one_trace_may_fill_a_batch() -> None:
    longest = Addition().num_tokens(6)
    batches = make_blocks(make_recipe(batch_tokens=longest), 3)
    assert len(batches) == 24
    assert all(0 < batch.tokens.size <= longest for batch in batches)


def take(
    recipe: BlockRecipe, first: int, count: int, workers: int, ranks: int = 1
) -> list[TokenBatch]:
    stream = StreamTask(recipe, workers, prefetch_blocks=3).open(first, ranks)
    return [stream.batch(step) for step in range(first, first + count)]


def assert_same_batches(found: list[TokenBatch], expected: list[TokenBatch]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


@pytest.fixture(scope="module")
def expected() -> list[TokenBatch]:
    """The first batches, made here."""
    return [to_tensors(batch) for batch in make_blocks(make_recipe(), 5)]


@pytest.mark.parametrize(("workers", "ranks"), [(1, 1), (3, 1), (3, 2)])
def test_the_number_of_workers_changes_nothing(
    workers: int, ranks: int, expected: list[TokenBatch], local_ray: None
) -> None:
    assert_same_batches(take(make_recipe(), 0, 40, workers, ranks), expected)


@pytest.mark.parametrize("first", [8, 21])
def test_a_stream_can_be_taken_up_at_any_step(
    first: int, expected: list[TokenBatch], local_ray: None
) -> None:
    assert_same_batches(take(make_recipe(), first, 10, 2), expected[first : first + 10])


def test_steps_are_neither_left_out_nor_repeated(local_ray: None) -> None:
    stream = StreamTask(make_recipe(), 1, 1).open(5, 1)
    stream.batch(5)
    for wrong in (5, 7):
        with pytest.raises(ValueError, match=f"at step 6, asked for {wrong}"):
            stream.batch(wrong)


def test_a_lost_process_changes_nothing(
    tmp_path: Path, expected: list[TokenBatch], local_ray: None
) -> None:
    marker = tmp_path / "killed"

    class Fatal(Addition):
        """Kills the first process that draws."""

        def draw_inputs(self, size: int, count: int, generator: np.random.Generator) -> IntArray:
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().draw_inputs(size, count, generator)

    assert_same_batches(take(make_recipe(Fatal()), 0, 16, 2), expected[:16])
    assert marker.exists()
