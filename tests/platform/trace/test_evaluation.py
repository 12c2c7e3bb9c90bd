"""Traces that are executed: what counts as exact, where errors stand, and honest intervals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import END, IntArray
from parley.envs.trace.split import is_heldout
from parley.platform.cli import main
from parley.platform.report.intervals import wilson_interval
from parley.platform.runs.checkpoints import CheckpointError
from parley.platform.trace.evaluation import execute as trace_scores
from parley.platform.trace.evaluation.execute import score_labels, write_and_execute
from parley.platform.trace.evaluation.figures import TraceFigures
from parley.platform.trace.evaluation.measure import (
    TraceInputError,
    TraceTask,
    evaluate_path,
    load_tracer,
    measure,
)
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM
from tests.platform.trace.trace_fixtures import (
    know_labels,
    make_config,
    make_writer,
    save_untrained,
)

CONTRACT = ("exact_match", "exact_match_by_length", "illegal_rate", "nats_over_optimal")
SIZES, COUNT, SEED = (1, 2, 3), 20, 5


@pytest.fixture(scope="module")
def task() -> TraceTask:
    return TraceTask.from_config(make_config())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DHMMGPT2ForCausalLM:
    """Untrained; it is slow to say so every time."""
    checkpoint = save_untrained(tmp_path_factory.mktemp("run"), make_config())
    return load_tracer(checkpoint.path).model


def write_spoilt(
    monkeypatch: pytest.MonkeyPatch,
    task: TraceTask,
    spoil: Callable[[int, int, IntArray], None] = lambda size, number, row: None,
) -> None:
    writer = make_writer(task, SIZES, COUNT, SEED, spoil)
    monkeypatch.setattr(trace_scores, "continue_traces", writer)


def figures_of(model: DHMMGPT2ForCausalLM, task: TraceTask, **options: Any) -> TraceFigures:
    return measure(model, task, SIZES, COUNT, SEED, **options)


def test_true_traces_are_exact_and_certainty_is_not_claimed(
    monkeypatch: pytest.MonkeyPatch, task: TraceTask, model: DHMMGPT2ForCausalLM
) -> None:
    write_spoilt(monkeypatch, task)
    metrics = figures_of(model, task).metrics()
    assert metrics["exact_match"] == 1.0
    assert metrics["illegal_rate"] == 0.0
    assert set(metrics["exact_match_by_length"].values()) == {1.0}
    low, high = metrics["exact_match_ci95"]
    assert 0.8 < low < 0.95 and high == 1.0
    low, high = metrics["illegal_rate_by_length_ci95"][3]
    assert low == 0.0 and 0.1 < high < 0.2
    assert metrics["first_error_position"] is None
    assert metrics["first_error_position_by_length"] == dict.fromkeys(SIZES)


def test_figures_keep_the_contract(
    monkeypatch: pytest.MonkeyPatch, task: TraceTask, model: DHMMGPT2ForCausalLM
) -> None:
    write_spoilt(monkeypatch, task)
    metrics = json.loads(json.dumps(figures_of(model, task).metrics()))
    for name in CONTRACT:
        assert name in metrics
        interval = metrics[f"{name}_ci95"]
        assert (set(interval) == {"1", "2", "3"}) if "by_length" in name else len(interval) == 2
    assert metrics["inputs"] == sum(metrics["inputs_by_length"].values())


def test_each_overall_figure_says_which_sizes_and_how_many_inputs_it_is_of(
    monkeypatch: pytest.MonkeyPatch, task: TraceTask, model: DHMMGPT2ForCausalLM
) -> None:
    def spoil(size: int, number: int, row: IntArray) -> None:
        if size == 3:
            row[-2] = END

    write_spoilt(monkeypatch, task, spoil)
    metrics = figures_of(model, task).metrics()
    inputs = metrics["inputs_by_length"]
    assert (metrics["trained_sizes"], metrics["sizes_beyond_training"]) == ([1, 2], [3])
    assert metrics["inputs_trained_sizes"] == inputs[1] + inputs[2]
    assert metrics["inputs_beyond_training"] == inputs[3]
    assert metrics["exact_match"] == 1.0 and metrics["exact_match_beyond_training"] == 0.0
    for name, count in (
        ("exact_match", metrics["inputs_trained_sizes"]),
        ("exact_match_beyond_training", metrics["inputs_beyond_training"]),
    ):
        assert metrics[f"{name}_ci95"] == list(wilson_interval(metrics[name], count))
    for name in ("nats_over_optimal", "label_accuracy", "illegal_rate"):
        low, high = metrics[f"{name}_beyond_training_ci95"]
        assert low <= metrics[f"{name}_beyond_training"] <= high


def test_where_no_trained_size_is_measured_its_figures_are_empty(
    monkeypatch: pytest.MonkeyPatch, task: TraceTask, model: DHMMGPT2ForCausalLM
) -> None:
    write_spoilt(monkeypatch, task)
    metrics = measure(model, task, [3], COUNT, SEED).metrics()
    assert metrics["exact_match"] is None and metrics["exact_match_ci95"] is None
    assert metrics["nats_over_optimal"] is None and metrics["first_error_position"] is None
    assert metrics["exact_match_beyond_training"] == 1.0
    assert (metrics["inputs_trained_sizes"], metrics["trained_sizes"]) == (0, [])


def test_an_illegal_token_is_found_at_its_place(
    monkeypatch: pytest.MonkeyPatch, task: TraceTask, model: DHMMGPT2ForCausalLM
) -> None:
    inputs = task.draw_heldout(3, COUNT, SEED)
    given = task.language.write_traces(3, inputs).prompt_length

    def spoil(size: int, number: int, row: IntArray) -> None:
        if size == 3 and number < 5:
            row[given + 2] = row[1 + given + 2]

    write_spoilt(monkeypatch, task, spoil)
    written = write_and_execute(model, task.language, 3, inputs, SEED, 1_000)
    assert [v.illegal_at for v in written.verdicts[:6]] == [given + 2] * 5 + [None]
    assert all(verdict.reason for verdict in written.verdicts[:5])
    metrics = figures_of(model, task).metrics()
    assert metrics["exact_match_by_length"][3] == pytest.approx(1 - 5 / len(inputs))
    assert metrics["illegal_rate_by_length"][3] == pytest.approx(5 / len(inputs))
    # Size 3 was not trained: it has figures of its own, and no part in the others.
    assert metrics["exact_match"] == 1.0 and metrics["first_error_position"] is None
    assert metrics["exact_match_beyond_training"] == pytest.approx(1 - 5 / len(inputs))
    assert metrics["illegal_rate_beyond_training"] == pytest.approx(5 / len(inputs))
    assert metrics["first_error_position_by_length"][3] == 2.0


def test_a_trace_that_does_not_end_is_not_exact(
    monkeypatch: pytest.MonkeyPatch, task: TraceTask, model: DHMMGPT2ForCausalLM
) -> None:
    def spoil(size: int, number: int, row: IntArray) -> None:
        if row[-1] == END:
            row[-1] = row[-2]

    write_spoilt(monkeypatch, task, spoil)
    figures = figures_of(model, task)
    assert figures.exact_match == 0.0
    assert all(v.reason for size in figures.sizes for v in size.written.verdicts)


def test_overall_figures_pool_the_traces_of_trained_sizes(
    monkeypatch: pytest.MonkeyPatch, task: TraceTask, model: DHMMGPT2ForCausalLM
) -> None:
    def spoil(size: int, number: int, row: IntArray) -> None:
        if size == 1:
            row[-2] = END

    sizes = (1, 2)
    writer = make_writer(task, sizes, 400, SEED, spoil)
    monkeypatch.setattr(trace_scores, "continue_traces", writer)
    figures = measure(model, task, sizes, 400, SEED)
    small, large = figures.sizes
    assert small.num_inputs < 40 < 200 < large.num_inputs <= 400
    total = small.num_inputs + large.num_inputs
    assert figures.exact_match == pytest.approx(large.num_inputs / total)
    assert figures.least_exact_match == 0.0
    metrics = figures.metrics()
    low, high = metrics["exact_match_ci95"]
    assert low < large.num_inputs / total < high < 1.0
    nats = sum(size.labels.excess.sum() for size in figures.sizes)
    labels = sum(size.labels.num_labels.sum() for size in figures.sizes)
    assert metrics["nats_over_optimal"] == pytest.approx(nats / labels)


def test_inputs_are_held_out_and_each_stands_once(task: TraceTask) -> None:
    inputs = task.draw_heldout(1, 1_000, seed=0)
    assert is_heldout(task.language, 1, inputs, task.holdout).all()
    assert len(np.unique(inputs, axis=0)) == len(inputs) < 100
    assert np.array_equal(task.draw_heldout(2, 50, seed=3), task.draw_heldout(2, 50, seed=3))
    assert not np.array_equal(task.draw_heldout(2, 50, seed=3), task.draw_heldout(2, 50, seed=4))


def test_batches_change_nothing(task: TraceTask, model: DHMMGPT2ForCausalLM) -> None:
    small, large = (figures_of(model, task, batch_tokens=tokens) for tokens in (1, 10_000))
    for one, other in zip(small.sizes, large.sizes, strict=True):
        assert one.written.verdicts == other.written.verdicts
        np.testing.assert_allclose(one.labels.nats, other.labels.nats, rtol=1e-4)
        np.testing.assert_array_equal(one.labels.num_right, other.labels.num_right)
    assert model.training is False


def test_labels_cost_what_the_plain_formula_says(
    task: TraceTask, model: DHMMGPT2ForCausalLM
) -> None:
    traces = task.language.write_traces(2, task.draw_heldout(2, 7, SEED))
    optimal = np.full(traces.tokens.shape, 0.25)
    scores = score_labels(model, traces, optimal, batch_tokens=30)
    with torch.no_grad():
        logits = model(torch.from_numpy(traces.tokens)).logits
    for row in range(len(traces.tokens)):
        nats, right, count = 0.0, 0, 0
        for place in range(1, traces.tokens.shape[1]):
            label = int(traces.labels[row, place])
            if label != IGNORED_LABEL:
                nats -= float(F.log_softmax(logits[row, place - 1], -1)[label])
                right += int(logits[row, place - 1].argmax()) == label
                count += 1
        assert scores.nats[row] == pytest.approx(nats, rel=1e-4)
        assert (scores.num_right[row], scores.num_labels[row]) == (right, count)
        assert scores.excess[row] == pytest.approx(nats - 0.25 * count, rel=1e-4)


def test_knowing_all_labels_costs_nothing(task: TraceTask) -> None:
    inputs = task.draw_heldout(2, 30, SEED)
    traces = task.language.write_traces(2, inputs)
    reader = know_labels(traces, task.language.vocab_size)
    scores = score_labels(reader, traces, task.language.optimal_nats(traces), 100_000)
    assert scores.excess == pytest.approx(0.0, abs=1e-4)
    np.testing.assert_array_equal(scores.num_right, scores.num_labels)


@pytest.mark.parametrize("name", ["parity", "shell_game"])
def test_tracking_games_are_asked_at_every_place(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(language={"name": name, "min_size": 30, "max_size": 30})
    task = TraceTask.from_config(config)
    inputs = task.draw_heldout(30, 12, SEED)
    traces = task.language.write_traces(30, inputs)
    scores = score_labels(
        know_labels(traces, task.language.vocab_size), traces, np.zeros(traces.tokens.shape), 10_000
    )
    assert scores.num_labels.min() > 30
    np.testing.assert_array_equal(scores.num_right, scores.num_labels)


def test_evaluate_measures_a_run_and_prints_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = save_untrained(tmp_path / "checkpoints", make_config()).path
    file = tmp_path / "figures.json"
    arguments = ["evaluate", str(run), "--episodes", "6", "--seed", "1", "--json", str(file)]
    assert main(arguments) == 0
    metrics = json.loads(file.read_text())
    assert set(CONTRACT) <= metrics.keys()
    assert metrics["inputs_by_length"].keys() == {"1", "2", "3"}
    assert metrics == {**evaluate_plain(run), "tokens_per_s": metrics["tokens_per_s"]}
    out = capsys.readouterr().out
    assert "exact_match " in out and "95 % interval" in out
    (head,) = [line for line in out.splitlines() if line.startswith("length  exact_match")]
    assert max(map(len, out.splitlines())) <= 100 and "illegal_rate" in head


def evaluate_plain(path: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(json.dumps(evaluate_path(path, 6, 1)))
    return metrics


def change_facts(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Rewrite a checkpoint's facts as a sound file; returns the run."""
    from parley.platform.runs.checkpoints import write_checkpoint
    from parley.policies.token.building import load_policy, save_policy

    checkpoint = save_untrained(folder / "checkpoints", make_config())
    facts = checkpoint.read_policy_facts()
    policy = load_policy(checkpoint.policy_folders["tracer"])
    change(facts)
    write_checkpoint(checkpoint.path, lambda path: save_policy(policy, path / "tracer"), facts, {})
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.pop("workflow"), "is not of a trace run"),
        (lambda facts: facts.pop("language"), "policy.json is not that of a trace run"),
        (lambda facts: facts["language"].update(name="chess"), "there is no language 'chess'"),
        (lambda facts: facts["language"].update(name="sorting", min_size=2), "another language"),
        (lambda facts: facts["evaluation"].update(sizes=[60]), "learned positions"),
        (lambda facts: facts.update(holdout=1e-9), "nothing to measure at size 1"),
    ],
)
def test_what_cannot_be_measured_is_named(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    run = change_facts(tmp_path, change)
    with pytest.raises((CheckpointError, TraceInputError), match=message):
        evaluate_path(run, episodes=2)


def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save_untrained(tmp_path / "checkpoints", make_config())
    weights = checkpoint.policy_folders["tracer"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    assert main(["evaluate", str(checkpoint.path)]) == 2
    error = capsys.readouterr().err
    assert "model.safetensors is truncated" in error and "Traceback" not in error
