"""The benchmark of traces: equal models, equal work, the same losses and the same writing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import trace
from benchmarks.contestants import traces
from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import END
from parley.platform.engine.next_token.gradient_step import token_losses
from parley.platform.trace.stream import to_tensors


@pytest.fixture(scope="module")
def sorting() -> traces.Case:
    return trace.make_cases(quick=True)[1]


def test_benchmark_measures_every_contestant(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "trace.json"
    trace.main(["--quick", "--json", str(file)])
    printed = capsys.readouterr().out
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    assert len(rows) == 2 * sum(len(contestants) for contestants in trace.TASKS.values())
    for row in rows:
        assert row["tokens_per_s"] > 0 and len(row["seconds"]) == 1
        assert row["contestant"] in printed
        assert row["positions"] >= (row["num_tokens"] if row["task"] == trace.TRAINING else 0)
    assert printed.count("goal 1.5") == printed.count("goal 3") == 2


def test_loss_equals_that_of_transformers(sorting: traces.Case) -> None:
    model = sorting.make_model("gpt2").eval()
    gpt2 = traces.copy_into_gpt2(model).eval()
    rows = list(traces._split_rows(sorting.batches[:1]))
    padded = traces.pad_rows(rows, traces.Work())
    batch = to_tensors(sorting.batches[0])
    logits = model(batch.inputs).logits
    loss = token_losses(logits, batch.targets).sum() / batch.num_targets
    loss.backward()
    theirs = gpt2(**padded).loss
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    own_gradient = model.transformer.blocks[0].get_submodule("up").get_parameter("weight").grad
    gradient = gpt2.get_parameter("transformer.h.0.mlp.c_fc.weight").grad
    assert own_gradient is not None and gradient is not None
    torch.testing.assert_close(own_gradient.T, gradient, atol=1e-5, rtol=0)


def test_rows_are_the_traces_without_padding(sorting: traces.Case) -> None:
    rows = list(traces._split_rows(sorting.batches))
    assert sum(len(row["input_ids"]) for row in rows) == sum(b.num_tokens for b in sorting.batches)
    for row in rows:
        assert row["input_ids"].index(END) == len(row["input_ids"]) - 1
        assert len(row["labels"]) == len(row["input_ids"])
        assert row["labels"][0] == IGNORED_LABEL and row["labels"][-1] == END


def test_both_write_the_same(sorting: traces.Case) -> None:
    own, theirs = traces.write_with_parley(sorting, "gpt2"), traces.write_with_generate(sorting)
    assert own.num_tokens == theirs.num_tokens
    assert trace.share_alike(own.written, theirs.written) > 0.9
    for (_, longest), written in zip(sorting.prompts, own.written, strict=True):
        assert written.shape == (sorting.num_prompts, longest)


def test_unequal_work_is_noticed() -> None:
    works = {trace.GPT2: traces.Work(100, 20), trace.GROUPED: traces.Work(100, 19)}
    trace._require_equal_work(works)
    works[trace.GROUPED] = traces.Work(100, 17)
    with pytest.raises(RuntimeError, match="unequal work"):
        trace._require_equal_work(works)
    works[trace.GROUPED] = traces.Work(99, 20)
    with pytest.raises(RuntimeError, match="unequal work"):
        trace._require_equal_work(works)
