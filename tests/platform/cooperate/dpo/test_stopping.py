"""Ctrl-C at any place of a DPO run: the steps that were done stand, and the figures come out equal.

Each stop is a real signal, sent by the component in whose midst it is to arrive.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parley.platform.cooperate.dpo import preparation as dpo_preparation
from parley.platform.cooperate.dpo import scoring as dpo_scoring
from parley.platform.cooperate.dpo import trial as dpo_trial
from parley.platform.cooperate.dpo.batches import PackedResponses, pack_pairs
from parley.platform.cooperate.dpo.preparation import PREPARED_STEM, TUNING_STEM
from parley.platform.cooperate.dpo.scoring import PairScoring, response_log_probs
from parley.platform.cooperate.dpo.supervised import FineTuner
from parley.platform.cooperate.dpo.token_pairs import TokenPairs
from parley.platform.cooperate.dpo.trainer import SharedPromptDPOTrainer
from parley.platform.cooperate.evaluation.cooperation import quick_cooperation
from parley.platform.maxims.pairs.named_pairs import load_pairs
from parley.platform.runs.resumable_tasks import complete
from parley.platform.runs.stopping import StopSignal
from tests.platform.cooperate.dpo.run_fixtures import figures, settings, train, weights
from tests.platform.cooperate.dpo_fixtures import make_model, make_pairs

OVERRIDES = ("data.num_generated=160", "evaluation.interval_steps=7", "dpo.device_batch_size=8")
STOPPED_AT = 3


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, quick_model_folder: Path, classifier_folder: Path
) -> Path:
    folder = tmp_path_factory.mktemp("dpo") / "run"
    train(settings(quick_model_folder, classifier_folder, *OVERRIDES), folder)
    return folder


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def at_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` that is interrupted in its call of this number, counted from 1."""
    calls = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            interrupt()
        return function(*arguments, **named)

    return called


def assert_equal_runs(folder: Path, finished: Path) -> None:
    assert figures(folder) == figures(finished)
    resumed, whole = weights(folder), weights(finished)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    results = [json.loads((run / "result.json").read_text()) for run in (folder, finished)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert not list(folder.glob(f"{TUNING_STEM}.*"))


def test_supervised_steps_are_kept(
    finished: Path,
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, folder = settings(quick_model_folder, classifier_folder, *OVERRIDES), tmp_path / "run"
    steps: list[int] = []
    step = FineTuner._step

    def count(self: FineTuner, batch: Any) -> None:
        steps.append(len(self.losses))
        if len(steps) == STOPPED_AT:
            interrupt()
        step(self, batch)

    monkeypatch.setattr(FineTuner, "_step", count)
    with pytest.raises(KeyboardInterrupt):
        train(config, folder)
    assert not (folder / "reference").exists()
    train(config, folder, resume=True)
    assert steps == list(range(len(steps)))  # none twice
    assert_equal_runs(folder, finished)


def test_scored_pairs_are_kept(
    finished: Path,
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, folder = settings(quick_model_folder, classifier_folder, *OVERRIDES), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(dpo_scoring, "pack_pairs", at_call(1, pack_pairs))
        with pytest.raises(KeyboardInterrupt):
            train(config, folder)
    stored = json.loads((folder / f"{PREPARED_STEM}.json").read_text())
    assert [stored[part]["num_batches"] for part in ("training", "heldout")] == [1, 0]
    train(config, folder, resume=True)
    assert_equal_runs(folder, finished)


def test_scoring_goes_on_behind_its_last_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pairs = make_model("llama"), make_pairs(40)
    whole = response_log_probs(model, pairs, batch_tokens=64)
    batches: list[int] = []

    def pack(pairs: TokenPairs, chosen: Any, shared: bool) -> PackedResponses:
        batches.append(int(chosen[0]))
        if len(batches) == STOPPED_AT:
            interrupt()
        return pack_pairs(pairs, chosen, shared)

    monkeypatch.setattr(dpo_scoring, "pack_pairs", pack)
    with StopSignal() as stop, pytest.raises(KeyboardInterrupt):
        complete(PairScoring(model, pairs, "scoring", 64), tmp_path / "scores", stop, pytest.fail)
    again = PairScoring(model, pairs, "scoring", 64)
    with StopSignal() as stop:
        assert complete(again, tmp_path / "scores", stop, pytest.fail)
    assert len(batches) == len(set(batches)) > STOPPED_AT
    np.testing.assert_array_equal(again.log_probs, whole)


def test_steps_between_measures_are_kept(
    finished: Path,
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, folder = settings(quick_model_folder, classifier_folder, *OVERRIDES), tmp_path / "run"
    with monkeypatch.context() as patch:
        training_step = SharedPromptDPOTrainer.training_step
        patch.setattr(SharedPromptDPOTrainer, "training_step", at_call(10, training_step))
        with pytest.raises(KeyboardInterrupt):
            train(config, folder)
    assert [row["iteration"] for row in figures(folder)] == [7]
    assert (folder / "checkpoints/iteration_000010").is_dir()
    train(config, folder, resume=True)
    assert_equal_runs(folder, finished)


@pytest.mark.parametrize("grace_s", ["60.0", "0.0"])
def test_a_stop_at_a_measure_keeps_the_steps_before_it(
    grace_s: str,
    finished: Path,
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The measure is finished where there is time, else given up and made when the run goes on."""
    overrides = (*OVERRIDES, f"checkpoint.stop_grace_s={grace_s}")
    config, folder = settings(quick_model_folder, classifier_folder, *overrides), tmp_path / "run"

    def stopped(*arguments: Any) -> Any:
        interrupt()
        if not float(grace_s):
            signal.pause()  # ended by the overdue stop
        return quick_cooperation(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(dpo_trial, "quick_cooperation", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder)
    assert (folder / "metrics.jsonl").is_file() == (float(grace_s) > 0.0)
    assert (folder / "checkpoints/iteration_000007").is_dir()
    train(config, folder, resume=True)
    assert_equal_runs(folder, finished)


def test_a_stop_while_reading_ends_the_run_at_once(
    tmp_path: Path,
    quick_model_folder: Path,
    classifier_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, folder = settings(quick_model_folder, classifier_folder), tmp_path / "run"
    monkeypatch.setattr(dpo_preparation, "load_pairs", at_call(1, load_pairs))
    with pytest.raises(KeyboardInterrupt):
        train(config, folder)
    assert not (folder / "reference").exists()
