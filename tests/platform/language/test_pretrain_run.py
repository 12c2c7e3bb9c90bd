"""Pretraining runs from start to end: figures, files, Ctrl-C, resumption, wrong input."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from parley.envs.dialogue.smalltalk import generate_dialogues
from parley.platform.cli import main
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.errors import InputError
from parley.platform.language import pretrain_run as pretrain_job
from parley.platform.language.evaluation import evaluate_pretrained
from parley.platform.language.pretrain_run import run_pretrain
from parley.platform.language.settings import PretrainConfig
from parley.platform.runs.checkpoints import CheckpointError, resolve_checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.transcripts import read_transcripts
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import load_experiment, replace_overrides
from tests.ctrl_c import interrupt_when

TINY = {
    "data": {"num_dialogues": 120},
    "model": {"vocab_size": 300, "context": 48, "embed_size": 16, "layers": 1, "heads": 2},
    "training": {"num_steps": 30, "batch_tokens": 256, "warmup_steps": 3, "eval_interval": 10},
    "learner": {"num_threads": 1},
    "evaluation": {"samples": 1, "sample_turns": 2, "sample_tokens": 8},
    "checkpoint": {"interval_iterations": 5, "keep": 9},
}
OVERRIDES = [f"{section}.{key}={value}" for section, t in TINY.items() for key, value in t.items()]
TIMES = ("seconds", "tokens_per_s")


def train(folder: Path, *overrides: str, resume: bool = False) -> dict[str, Any]:
    config = replace_overrides(PretrainConfig.model_validate(TINY), overrides)
    assert isinstance(config, PretrainConfig)
    opened = RunFolder.resume(folder, config) if resume else RunFolder.create(config, folder)
    with opened as run_folder:
        return run_pretrain(config, run_folder, resume)


def figures(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics, without times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("pretrain") / "run"
    train(folder)
    return folder


def test_a_run_leaves_its_figures_and_files(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    metrics = result["metrics"]
    assert (result["status"], result["device"]) == ("done", "cpu")
    assert metrics["heldout_perplexity"] == pytest.approx(
        math.exp(metrics["heldout_nats_per_token"])
    )
    for name in ("heldout_nats_per_token", "heldout_perplexity"):
        low, high = metrics[f"{name}_ci95"]
        assert low < metrics[name] < high
    assert metrics["trigram_nats_per_token"] < metrics["unigram_nats_per_token"]
    assert metrics["heldout_dialogues"] == 12
    rows = figures(finished)
    assert [row["iteration"] for row in rows] == [10, 20, 30]
    assert rows[-1]["selection_nats_per_token"] < rows[0]["selection_nats_per_token"]
    assert (
        metrics["best_step"] == min(rows, key=lambda r: r["selection_nats_per_token"])["iteration"]
    )
    assert result["checkpoint"] == f"checkpoints/iteration_{metrics['best_step']:06d}"
    saved = sorted(path.name for path in (finished / "checkpoints").glob("iteration_*"))
    assert saved == [f"iteration_{step:06d}" for step in (5, 10, 15, 20, 25, 30)]


def test_the_policy_folder_holds_model_and_tokenizer(finished: Path) -> None:
    folder = resolve_checkpoint(finished).policy_folders["speaker"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) == 300
    assert model.config.eos_token_id == tokenizer.eos_token_id


def test_every_evaluation_leaves_a_dialogue_to_read(finished: Path) -> None:
    transcripts = read_transcripts(finished / "transcripts.jsonl")
    assert [transcript.iteration for transcript in transcripts] == [10, 20, 30]
    opener = transcripts[0].turns[0]
    assert opener.seat == "opener"
    assert {turn.seat for transcript in transcripts for turn in transcript.turns[1:]} == {"speaker"}
    assert all(transcript.turns[0] == opener for transcript in transcripts)


def test_a_stopped_run_goes_on_as_if_never_stopped(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    interrupt_when((folder / "metrics.jsonl").exists)
    with pytest.raises(KeyboardInterrupt):
        train(folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "stopped"
    assert 10 <= result["metrics"]["iteration"] < 30
    assert train(folder, resume=True)["status"] == "done"
    assert figures(folder) == figures(finished)
    ends = [
        json.loads((path / "result.json").read_text())["metrics"] for path in (folder, finished)
    ]
    for end in ends:
        end.pop("tokens_per_s")
    assert ends[0] == ends[1]
    transcripts = [read_transcripts(path / "transcripts.jsonl") for path in (folder, finished)]
    assert transcripts[0] == transcripts[1]


def test_a_measure_that_was_given_up_is_made_when_the_run_goes_on(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"

    def wait_for_the_end_of_grace(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_job, "measure_losses", wait_for_the_end_of_grace)
        with pytest.raises(KeyboardInterrupt):
            train(folder, "checkpoint.stop_grace_s=0.0")
    assert not (folder / "metrics.jsonl").exists()
    assert (folder / "checkpoints/iteration_000010").is_dir()
    train(folder, resume=True)
    assert figures(folder) == figures(finished)


def test_other_data_is_refused_on_resume(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder, "training.num_steps=10")
    with pytest.raises(CheckpointError, match="not those that the run began with"):
        train(folder, "data.num_dialogues=130", resume=True)


def test_conversations_of_a_file_are_learned(tmp_path: Path) -> None:
    table = {
        f"t_{number}": {"content": [{"message": message} for message in talk]}
        for number, talk in enumerate(generate_dialogues(60, seed=9))
    }
    path = tmp_path / "talks.json"
    path.write_text(json.dumps(table))
    result = train(tmp_path / "run", f"data.path={path}", "training.num_steps=10")
    assert result["metrics"]["heldout_dialogues"] == 6
    assert np.isfinite(result["metrics"]["heldout_perplexity"])


def test_divergence_fails_the_run(tmp_path: Path) -> None:
    wild = ("training.learning_rate=1e30", "training.matrix_learning_rate=1e30")
    with pytest.raises(NonFiniteLossError, match=r"lower training\.learning_rate"):
        train(tmp_path / "run", *wild)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.path=absent.json"], "data.path: absent.json: no such file or folder"),
        (["data.path=broken.json"], "conversation t_1: row 2 of `content` has no text"),
        (["data.path=empty.txt"], "data.path: empty.txt: no conversation in it"),
        (["data.holdout=0.6", "data.selection=0.5"], "leave nothing to train on"),
        (["model.heads=3"], "model.heads 3 does not divide model.embed_size 16"),
        (["training.batch_tokens=32"], "holds no window of model.context 48 tokens"),
        (["training.warmup_steps=30"], "leaves nothing of training.num_steps 30"),
        (["model.vocab_size=200"], "at least 257"),
    ],
)
def test_wrong_input_exits_with_2(
    overrides: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"message": "Hi"}, {"agent": "agent_2"}]
    (tmp_path / "broken.json").write_text(json.dumps({"t_1": {"content": rows}}))
    (tmp_path / "empty.txt").write_text("\n")
    names_data = any(override.startswith("data.path=") for override in overrides)
    tiny = OVERRIDES[1:] if names_data else OVERRIDES  # the first one is about generated dialogues
    assert main(["train", "dialogue/pretrain", *tiny, *overrides, "--run-dir", "run"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_experiment_loads_and_names_wrong_keys() -> None:
    assert isinstance(load_experiment("dialogue/pretrain", quick=True), PretrainConfig)
    with pytest.raises(ConfigError, match=r"training\.num_stepz"):
        load_experiment("dialogue/pretrain", ["training.num_stepz=1"])


def test_evaluating_a_run_gives_the_figures_of_its_result(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(finished), "--json", str(out)]) == 0
    metrics = json.loads((finished / "result.json").read_text())["metrics"]
    found = json.loads(out.read_text())
    for name in ("heldout_nats_per_token", "heldout_perplexity", "heldout_tokens"):
        assert found[name] == pytest.approx(metrics[name])


def test_other_text_can_be_evaluated(finished: Path, tmp_path: Path) -> None:
    talks = generate_dialogues(12, 5)
    text = tmp_path / "talks.txt"
    text.write_text("\n\n".join("\n".join(talk) for talk in talks), encoding="utf-8")
    found = evaluate_pretrained(finished, data=text)
    assert found["heldout_dialogues"] == 12
    assert evaluate_pretrained(finished, episodes=5, data=text)["heldout_dialogues"] == 5


def test_a_checkpoint_without_its_run_cannot_tell_what_was_held_out(
    finished: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "a" / "b" / "c" / "copied"
    shutil.copytree(resolve_checkpoint(finished).path, copied)
    with pytest.raises(InputError, match="leave the checkpoint in its run's folder"):
        evaluate_pretrained(copied)
