"""Trace runs from start to end: through Ray Train, stopped, resumed, begun from another run."""

from __future__ import annotations

import json
import math
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from parley.platform.cli import main
from parley.platform.engine.next_token.channel import Snapshot
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.runs.checkpoints import CheckpointError, open_checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.trace.evaluation.measure import TraceTask, evaluate_path
from parley.platform.trace.next_token_run import TraceRun, run_trace
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.warm_start import load_trace_start
from tests.ctrl_c import interrupt_when
from tests.platform.trace.next_token_fixtures import TINY, make_config

TIMES = {"seconds", "steps_per_s", "tokens_per_s", "eval_seconds", "train_seconds"}
Row = dict[str, Any]


def train(folder: Path, *overrides: str, resume: bool = False) -> Row:
    config = make_config(*overrides)
    opened = RunFolder.resume(folder) if resume else RunFolder.create(config, folder)
    with opened as run_folder:
        return run_trace(config, run_folder, resume)


def untimed(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in TIMES}


def figures(folder: Path) -> list[Row]:
    """The rows of metrics, without times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [untimed(json.loads(line)) for line in lines]


def save_fresh(folder: Path, *overrides: str) -> Path:
    """A run folder with the checkpoint of a policy that has learned nothing."""
    config = make_config(*overrides)
    with RunFolder.create(config, folder) as run_folder:
        run = TraceRun(config, run_folder, TraceTask.from_config(config))
        run.take_in(run.snapshot)
    return folder


@pytest.fixture(scope="module")
def finished(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("trace") / "run"
    train(folder)
    return folder


def test_a_run_leaves_its_figures_and_files(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    metrics = result["metrics"]
    assert (result["status"], result["device"]) == ("done", "cpu")
    for name in ("exact_match", "illegal_rate", "nats_over_optimal"):
        low, high = metrics[f"{name}_ci95"]
        assert low <= metrics[name] <= high
    assert set(metrics["exact_match_by_length"]) == {"1", "2", "3"}
    assert (metrics["train_steps"], metrics["train_tokens"]) == (
        60,
        figures(finished)[-1]["tokens"],
    )
    rows = figures(finished)
    assert [row["iteration"] for row in rows] == [20, 40, 60]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] < math.log(10)
    best = max(rows, key=lambda row: (row["exact_match"], -row["nats_over_optimal"]))
    assert metrics["best_step"] == best["iteration"]
    assert result["checkpoint"] == f"checkpoints/iteration_{best['iteration']:06d}"
    saved = sorted(path.name for path in (finished / "checkpoints").glob("iteration_*"))
    assert saved == [f"iteration_{step:06d}" for step in (20, 30, 40, 60)]
    assert (finished / "learning_curve.png").stat().st_size > 1_000


def test_noise_comes_in_after_the_row_whose_loss_is_low(finished: Path) -> None:
    rows = figures(finished)
    first = next(row for row in rows if row["train_loss"] < 2.2)
    assert first["iteration"] < 60
    for row in rows:
        steps = max(0, row["iteration"] - first["iteration"])
        assert row["mutation_noise"] == pytest.approx(0.5 * min(1.0, steps / 30))
    state = open_checkpoint(finished / "checkpoints/iteration_000060").read_trainer_state()
    assert state["snapshot"]["ramp_start"] == first["iteration"]


def test_the_checkpoint_tells_how_to_measure_it(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    facts = open_checkpoint(finished / result["checkpoint"]).read_policy_facts()
    config = make_config()
    assert facts["workflow"] == "trace"
    assert facts["language"] == config.language.model_dump()
    assert facts["holdout"] == 0.3
    measured = json.loads(json.dumps(evaluate_path(finished)))
    for name, value in untimed(measured).items():
        assert result["metrics"][name] == value, name


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_never_stopped(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    interrupt_when((folder / "metrics.jsonl").exists)
    with pytest.raises(KeyboardInterrupt):
        train(folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "stopped"
    assert result["metrics"]["iteration"] < 60
    assert train(folder, resume=True)["status"] == "done"
    assert figures(folder) == figures(finished)
    ends = [json.loads((path / "result.json").read_text()) for path in (folder, finished)]
    assert untimed(ends[0]["metrics"]) == untimed(ends[1]["metrics"])
    assert weights_of(folder) == weights_of(finished)


def weights_of(run: Path) -> bytes:
    return (run / "checkpoints/iteration_000060/policies/tracer/model.safetensors").read_bytes()


def test_a_measure_that_was_given_up_is_made_when_the_run_goes_on(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"

    def wait_for_the_end_of_grace(run: TraceRun) -> Row:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
        raise AssertionError("the signal's grace is over")

    with monkeypatch.context() as patch:
        patch.setattr(TraceRun, "measure_row", wait_for_the_end_of_grace)
        with pytest.raises(KeyboardInterrupt):
            train(folder, "checkpoint.stop_grace_s=0.0")
    assert re.search(r"^training  \d+ of 60 steps", capsys.readouterr().err, re.MULTILINE)
    assert not (folder / "metrics.jsonl").exists()
    state = open_checkpoint(folder / "checkpoints/iteration_000020").read_trainer_state()
    assert state["snapshot"]["row"]["iteration"] == 20
    train(folder, resume=True)
    assert figures(folder) == figures(finished)


@pytest.mark.slow
def test_the_number_of_stream_workers_changes_no_figure(finished: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", "stream.num_workers=1", "stream.prefetch_blocks=1")
    assert figures(tmp_path / "run") == figures(finished)
    assert weights_of(tmp_path / "run") == weights_of(finished)


@pytest.mark.slow
def test_two_learners_give_the_figures_of_one(finished: Path, tmp_path: Path) -> None:
    quiet = ("training.mutation_noise=0.0",)
    train(tmp_path / "one", *quiet)
    train(tmp_path / "two", *quiet, "learner.num_learners=2")
    for one, two in zip(figures(tmp_path / "one"), figures(tmp_path / "two"), strict=True):
        for name in ("train_loss", "nats_over_optimal"):
            assert two[name] == pytest.approx(one[name], rel=1e-3)


def test_a_run_stops_when_enough_is_exact(local_ray: None, tmp_path: Path) -> None:
    result = train(tmp_path / "run", "training.stop_exact_match=0.0")
    assert (result["status"], result["metrics"]["train_steps"]) == ("done", 40)
    assert [row["iteration"] for row in figures(tmp_path / "run")] == [20, 40]
    again = train(tmp_path / "run", "training.stop_exact_match=0.0", resume=True)
    assert untimed(again["metrics"]) == untimed(result["metrics"])


@pytest.mark.slow
def test_divergence_fails_the_run(local_ray: None, tmp_path: Path) -> None:
    wild = ("training.learning_rate=1e30", "training.max_grad_norm=1e30")
    with pytest.raises(NonFiniteLossError, match=r"nan .*lower training\.learning_rate"):
        train(tmp_path / "run", *wild)


def test_more_learners_than_cpus_are_refused(local_ray: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"num_learners 4 .*and 1 for the stream.*counts 4"):
        train(tmp_path / "run", "learner.num_learners=4")


def test_a_run_starts_from_the_weights_of_another(tmp_path: Path) -> None:
    first = save_fresh(tmp_path / "first", "seed=7")
    config = make_config(f"init_from={first}", "language.max_size=5")
    start = load_trace_start(config).state_dict()
    fresh = TraceRun(config, RunFolder(tmp_path, config), TraceTask.from_config(config))
    begun = TraceRun(config, fresh.run_folder, fresh.task, start)
    for name, tensor in begun.policy.state_dict().items():
        assert torch.equal(tensor, start[name])
    name = "transformer.blocks.0.up.weight"
    assert not (fresh.snapshot.weights[name] == begun.snapshot.weights[name]).all()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["language.options={base = 4}"], "10 tokens there, 11 here"),
        (["language.options={}", "language.name=parity"], "speaks addition, but language.name is"),
        (["model.embed_size=32"], "another model than policy=dhmm_gpt2"),
        (["policy=gpt2"], "another model than policy=gpt2"),
        (["model.positions=none"], "set model.positions=rotary"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    first = save_fresh(tmp_path / "first")
    with pytest.raises(CheckpointError, match=message):
        load_trace_start(make_config(f"init_from={first}", *overrides))


def test_a_start_of_another_workflow_is_refused(
    tmp_path: Path, save_untrained: Callable[..., Any], make_config: Callable[..., Any]
) -> None:
    save_untrained(tmp_path / "checkpoints", make_config())
    trace = TraceConfig.model_validate({**TINY, "init_from": str(tmp_path)})
    with pytest.raises(CheckpointError, match="not of a trace run"):
        load_trace_start(trace)


def test_the_early_stop_counts_rows_in_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("training.stop_exact_match=0.9")
    with RunFolder.create(config, tmp_path / "run") as run_folder:
        run = TraceRun(config, run_folder, TraceTask.from_config(config))
        for step, least in enumerate([0.95, 0.5, 0.9, 1.0], start=1):

            class Figures:
                exact_match, least_exact_match = 1.0, least
                illegal_rate = nats_over_optimal = 0.0

            monkeypatch.setattr("parley.platform.trace.next_token_run.measure", lambda *_: Figures)
            assert not run.finished
            run.take_in(Snapshot(step, run.snapshot.weights, row={"iteration": step}))
        assert run.finished
        again = TraceRun(config, run_folder, run.task)
        again.restore()
        assert again.finished


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batch_tokens=10", "less than the 13 tokens of one trace of addition"),
        ("stream.holdout=0.0001", "nothing to measure at size 1"),
        ("stream.holdout=0.9999", "stream.holdout 0.9999: addition: no input of size 1"),
        ("language.name=adition", "there is no language 'adition'"),
        ("init_from=nowhere", "nowhere"),
    ],
)
def test_wrong_input_exits_with_2(
    override: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [
        "language.max_size=2",
        "language.options.base=3",
        "evaluation.sizes=[1, 2]",
        override,
    ]
    assert main(["train", "trace/addition", *settings, "--run-dir", "run"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
