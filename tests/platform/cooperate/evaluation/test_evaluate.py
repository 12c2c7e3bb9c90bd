"""Evaluating, watching and talking to a generator, from its run and from a copied checkpoint."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parley.platform.cli import main
from parley.platform.cooperate.evaluation import evaluate as cooperation_runs
from parley.platform.cooperate.evaluation.chat import GeneratorAgents, GeneratorPartner
from parley.platform.cooperate.evaluation.generator_checkpoint import experiment_of
from parley.platform.cooperate.evaluation.metrics import EVALUATION_FILE
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.language.chat_partner import ChatTurn, Conversation
from parley.platform.maxims.judge import building as embedded_judge
from parley.platform.maxims.judge.ranker_encoders import has_minilm
from parley.platform.runs.checkpoints import CheckpointError, CheckpointStore, resolve_checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.run_inputs import keep_inputs
from parley.platform.settings.loading import replace_overrides
from parley.policies.dialogue.loading import load_language_model, save_language_model
from tests.platform.cooperate.cooperation_fixtures import (
    RuleJudge,
    judge_length,
    make_pair,
    perturbed,
)


def facts(config: DialogueDPOConfig, **changes: Any) -> dict[str, Any]:
    """What a trial with these settings writes into `policy.json`."""
    experiment = config.model_dump(mode="json", exclude_none=True)
    return {
        "workflow": "dialogue",
        "policy": "dpo",
        "trained": "generator",
        "modules": ["generator"],
        "experiment": {**experiment, **changes},
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, first in (("train", 0), ("test", 30)):
        pairs = [make_pair(first + n) for n in range(9)]
        text = "".join(json.dumps(asdict(pair)) + "\n" for pair in pairs)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


@pytest.fixture
def run(
    tmp_path: Path, data: Path, quick_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run as training leaves it; its judges are plain rules."""
    judge = RuleJudge(judge_length)
    monkeypatch.setattr(cooperation_runs, "load_detector", lambda name, role, log, talks=(): judge)
    overrides = [
        *(f"model={quick_model_folder}", f"data.path={data}", "dpo.beta=0.5"),
        *("generation.max_new_tokens=8", "generation.candidates=2", "learner.num_threads=1"),
        "learner.num_gpus_per_learner=0",
    ]
    config = replace_overrides(DialogueDPOConfig(), overrides)
    assert isinstance(config, DialogueDPOConfig)
    folder = tmp_path / "run"
    RunFolder.create(config, folder).close()
    trial = replace_overrides(config, ["dpo.beta=0.25"])
    assert isinstance(trial, DialogueDPOConfig)
    save(folder / "checkpoints", quick_model_folder, facts(trial))
    return folder


def save(folder: Path, model_folder: Path, facts: dict[str, Any]) -> None:
    def save_policies(target: Path) -> None:
        save_language_model(perturbed(model_folder, 0.01), target / "generator")
        save_language_model(load_language_model(model_folder), target / "reference")

    CheckpointStore(folder).save(7, save_policies, facts, {}, best_score=0.5)


def test_a_run_is_evaluated_and_keeps_what_was_found(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    assert main(["evaluate", str(run), "--episodes", "4", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "tuned beam" in printed
    first = "NO VERDICT: the prompts are of 2 conversations"
    assert printed.startswith(first) and printed.count(first) == 2
    assert "better than the untuned model" not in printed
    metrics = json.loads(out.read_text())
    assert metrics["prompts"] == 4
    assert "2 conversations" in metrics["no_verdict"]
    assert set(metrics["criteria"].values()) == {None}
    assert metrics["heldout_pairs"] == 9
    assert 0 <= metrics["cooperative_rate_base"] <= 1
    kept = json.loads((run / EVALUATION_FILE).read_text())
    assert kept["metrics"] == metrics
    assert len(kept["samples"]) == 4
    assert "iteration_000007" in kept["source"]
    assert main(["evaluate", str(run), "--episodes", "4", "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == metrics
    assert main(["report", str(run)]) == 0
    assert "Cooperation" in (run / "report.html").read_text()


def test_the_checkpoint_says_which_beta_it_has(run: Path, data: Path) -> None:
    config = experiment_of(resolve_checkpoint(run))
    assert config.dpo.beta == 0.25
    assert config.generation.max_new_tokens == 8
    assert config.data.path == str(data)


def test_a_copied_checkpoint_takes_the_data_that_is_named(
    run: Path,
    data: Path,
    tmp_path: Path,
    quick_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = replace_overrides(experiment_of(resolve_checkpoint(run)), ["data.path=nowhere"])
    assert isinstance(config, DialogueDPOConfig)
    save(tmp_path / "saved", quick_model_folder, facts(config))
    copy = tmp_path / "copied"
    shutil.copytree(tmp_path / "saved" / "iteration_000007", copy)
    assert main(["evaluate", str(copy), "--episodes", "2"]) == 2
    assert "the run's data nowhere is not here" in capsys.readouterr().err
    out = tmp_path / "figures.json"
    assert (
        main(
            [
                *("evaluate", str(copy), "--data", str(data), "--episodes", "2"),
                *("--json", str(out)),
            ]
        )
        == 0
    )
    assert json.loads(out.read_text())["prompts"] == 2
    assert "the model before tuning is left out" not in capsys.readouterr().err
    assert not list(tmp_path.glob(f"**/{EVALUATION_FILE}"))


def test_what_is_missing_or_damaged_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--data", str(tmp_path / "absent")]) == 2
    assert "absent" in capsys.readouterr().err
    model = load_language_model(run / "checkpoints/iteration_000007/policies/generator")

    def save_policies(target: Path) -> None:
        save_language_model(model, target / "generator")

    store = CheckpointStore(run / "checkpoints")
    config = DialogueDPOConfig()
    store.save(8, save_policies, facts(config), {}, best_score=0.9)
    assert main(["evaluate", str(run)]) == 2
    assert "holds no reference below policies/" in capsys.readouterr().err
    no_experiment = {key: value for key, value in facts(config).items() if key != "experiment"}
    for damaged in (facts(config, dpo={"beta": "high"}), no_experiment):
        store.save(9, save_policies, damaged, {}, best_score=1.0)
        with pytest.raises(CheckpointError, match=r"policy.json is not that of a DPO run"):
            experiment_of(resolve_checkpoint(run))


def test_long_responses_are_left_out_and_counted(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_language_model(run / "checkpoints/iteration_000007/policies/reference")
    pairs = [make_pair(0), make_pair(1, rejected="tea " * 60)]
    assert cooperation_runs.keep_short(pairs, model, 40) == pairs[:1]
    assert "1 of 2 held-out pairs have a response of more than 40" in capsys.readouterr().err


def test_answers_can_be_watched(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", str(run)]) == 2
    assert "`parley evaluate` writes them" in capsys.readouterr().err
    answer = {"text": "so\x1b[2J", "violations": ["quality"]}
    samples = [
        {"context": f"talk {n}", "answers": {"tuned_beam": answer, "tuned": {"text": ""}}}
        for n in range(12)
    ]
    content = {"metrics": {}, "table": [], "samples": samples}
    (run / EVALUATION_FILE).write_text(json.dumps(content))
    assert main(["watch", str(run)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("talk ") == 5
    assert "tuned beam       so\\x1b[2J  [quality]" in shown
    assert "(says nothing)  [cooperative]" in shown
    assert main(["watch", str(run), "--all", "--out", str(tmp_path / "a.txt")]) == 0
    assert (tmp_path / "a.txt").read_text().count("talk ") == 12
    assert main(["watch", str(run), "--iteration", "3"]) == 2
    assert "one evaluation" in capsys.readouterr().err


def test_a_generator_answers_a_prompt_of_the_talk_so_far(run: Path) -> None:
    agents = GeneratorAgents(resolve_checkpoint(run), temperature=0.0)
    assert agents.default_seat == "generator"
    assert agents.seat_after("generator") == "reference"
    partner = agents.partner("generator")
    assert isinstance(partner, GeneratorPartner)
    said = [("you", "Do you  like tea?"), ("generator", "Yes."), ("reference", ""), ("you", "Why?")]
    turns = [ChatTurn(seat, partner.encode(text)) for seat, text in said]
    conversation = Conversation(partner.end_token, turns)
    assert partner.lines(conversation) == [
        "[agent_1]: Do you like tea?",
        "[agent_2]: Yes.",
        "[agent_1]: Why?",
    ]
    rng = np.random.default_rng(0)
    assert partner.answer(conversation, rng) == partner.answer(conversation, rng)
    long = [ChatTurn("you", partner.encode("tea " * 40)) for _ in range(5)]
    partner.answer(Conversation(partner.end_token, long), rng)
    with pytest.raises(ValueError, match="more than the"):
        partner.answer(
            Conversation(partner.end_token, [ChatTurn("you", partner.encode("tea " * 400))]), rng
        )


def test_the_chat_command_talks_to_the_generator(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "Hello\n/swap\nand you?\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["chat", str(run)]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "reference (frozen) answers" in captured.err
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(["chat", str(run)]) == 0
    assert capsys.readouterr().out == captured.out
    assert main(["chat", str(run), "--seat", "genarator"]) == 2
    assert "did you mean generator?" in capsys.readouterr().err


def test_other_data_judges_or_models_than_the_runs_are_refused(
    run: Path,
    data: Path,
    quick_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("PARLEY_DATA", raising=False)
    for source, name in ((data, "pairs"), (quick_model_folder, "model")):
        shutil.copytree(source, tmp_path / name)
    stored = replace_overrides(
        RunFolder.open(run).config,
        [f"data.path={tmp_path / 'pairs'}", f"model={tmp_path / 'model'}"],
    )
    assert isinstance(stored, DialogueDPOConfig)
    with RunFolder.resume(run, stored) as folder:
        keep_inputs(stored, folder, resume=False)
    save(run / "checkpoints", quick_model_folder, facts(stored))
    short = ["evaluate", str(run), "--episodes", "2"]
    assert main(short) == 0
    for changed, part in (
        (tmp_path / "pairs" / "test.jsonl", "data.path: .*pairs is not .*test.jsonl differs"),
        (tmp_path / "model" / "tokenizer.json", "model: .*model is not .*tokenizer.json differs"),
    ):
        content = changed.read_bytes()
        changed.write_bytes(content + b"\n")
        capsys.readouterr()
        assert main(short) == 2
        assert re.search(part, capsys.readouterr().err)
        changed.write_bytes(content)
    shutil.rmtree(tmp_path / "model")  # its row is left out
    assert main(short) == 0
    assert "the model before tuning is left out: model: the run began" in capsys.readouterr().err
    other = not has_minilm()
    monkeypatch.setattr(embedded_judge, "has_minilm", lambda: other)
    assert main(short) == 2
    assert "judges.judge = embedded is pairs-" in capsys.readouterr().err
    assert main([*short, "judges.judge=embedded"]) == 0
