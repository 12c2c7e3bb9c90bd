"""Whatever lies in a run or a model's folder: no command of parley reads a pickle from it."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from parley.envs.cartpole.episodes import EpisodeSet
from parley.platform.cli import main
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import policy_settings
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.engine.sweeps.run import SweepFailedError
from parley.platform.maxims.detector.classifier import ClassifierDetector
from parley.platform.maxims.pairs.folder import read_pairs
from parley.platform.maxims.text.exchange import MAXIMS, make_prompt
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.transcripts import append_transcripts
from parley.platform.settings.loading import load_experiment
from parley.policies.dialogue.loading import load_language_model, save_language_model
from parley.policies.token.building import build_policy, save_policy
from tests.faults.fault_runs import CARTS
from tests.platform.cooperate.dpo.run_fixtures import OVERRIDES as TINY_TUNING
from tests.platform.distort.run_fixtures import TINY as TINY_TALK
from tests.platform.engine.sweeps.sweep_trials import sweep
from tests.platform.language.chat_fixtures import make_model
from tests.platform.report.pages import dialogue
from tests.platform.trace.trace_fixtures import make_config as make_trace_config
from tests.platform.trace.trace_fixtures import save_untrained as save_trace
from tests.policies.dialogue.model_fixtures import make_tokenizer
from tests.security.planting import (
    Payload,
    npz_bytes,
    plant,
    torch_bytes,
    watch_unpickling,
)

PAYLOAD = (os.mkdir.__module__, "mkdir")
"""What an unpickler looks up to run the payload."""


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The folder that a payload would make."""
    return tmp_path / "mark"


@pytest.fixture
def unread(mark: Path) -> Iterator[None]:
    """Fails the test where a payload was looked up or has run."""
    with watch_unpickling() as seen:
        yield
    assert PAYLOAD not in seen
    assert not mark.exists()


def cartpole_run(folder: Path) -> Path:
    """A run with an untrained policy."""
    config = load_experiment("cartpole/ppo", CARTS)
    assert isinstance(config, CartPolePPOConfig)
    facts = {
        "policy": config.policy,
        "env": config.env.model_dump(),
        "module_of_cart": ["carts"],
        "env_steps": 64,
    }
    policy = build_policy(config.policy, policy_settings(config.env, config.model))
    with RunFolder.create(config, folder) as run:
        CheckpointStore(run.checkpoints).save(
            1, lambda path: save_policy(policy, path / "carts"), facts, {}, 9.0
        )
    return folder


def dialogue_run(folder: Path) -> Path:
    """A run of a frozen model, which lies beside it, and a trained one."""
    frozen = folder.with_name("frozen")
    save_language_model(make_model(1), frozen)
    seats = {
        "competitor": {"model": str(frozen), "trained": False},
        "distorter": {"model": str(frozen), "trained": True},
    }
    facts = {
        "seats": seats,
        "sampling": {"temperature": 1.0, "top_k": 50, "top_p": 1.0},
        "dialogue": {"max_reply_tokens": 6, "window": 0},
    }
    with RunFolder.create(DialogueDistortConfig(), folder) as run:
        run.append_metrics({"iteration": 1, "tokens": 9, "kl": 0.1})
        append_transcripts(folder / "transcripts.jsonl", [dialogue(1, 0)])
        CheckpointStore(run.checkpoints).save(
            1, lambda path: save_language_model(make_model(2), path / "distorter"), facts, {}
        )
    return folder


def trace_run(folder: Path) -> Path:
    """A run with an untrained model."""
    config = make_trace_config()
    with RunFolder.create(config, folder) as run:
        run.append_metrics({"iteration": 1, "train_loss": 1.0})
        save_trace(run.checkpoints, config)
    return folder


def save_classifier(folder: Path) -> None:
    """A detector of the four maxims with random weights."""
    config = GPT2Config(
        vocab_size=257,
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=192,
        id2label=dict(enumerate(MAXIMS)),
        label2id={maxim: number for number, maxim in enumerate(MAXIMS)},
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        problem_type="multi_label_classification",
    )
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def test_the_payload_would_run(mark: Path) -> None:
    with watch_unpickling() as seen:
        pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists() and PAYLOAD in seen
    mark.rmdir()
    torch.load(io.BytesIO(torch_bytes(mark)), weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize(
    ("make_run", "commands"),
    [
        (cartpole_run, ["evaluate {run} --episodes 2", "watch {run} --out {out}.gif"]),
        (cartpole_run, ["evaluate {run}/checkpoints/iteration_000001 --episodes 2"]),
        (dialogue_run, ["chat {run}", "watch {run}", "report {run}"]),
        (trace_run, ["evaluate {run} --episodes 2", "watch {run} --out {out}.png", "report {run}"]),
    ],
    ids=["cartpole", "cartpole checkpoint", "dialogue", "trace"],
)
def test_what_reads_a_run_reads_no_pickle_in_it(
    make_run: Callable[[Path], Path],
    commands: list[str],
    tmp_path: Path,
    mark: Path,
    unread: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run(tmp_path / "run")
    assert plant(tmp_path, mark) >= 60
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n/swap\nyou?\n"))
    for command in commands:
        call = command.format(run=run, out=tmp_path / "out").split()
        assert main(call) == 0, command


def test_data_and_detectors_read_no_pickle(tmp_path: Path, mark: Path, unread: None) -> None:
    source, exchanges = tmp_path / "pairs.json", tmp_path / "exchanges.json"
    talks = [f"[agent_1]: Do you like tea number {number}?" for number in range(40)]
    pairs = [
        {
            "prompt": make_prompt(talk, f"Tea {number} is a drink."),
            "chosen": f"Yes, {number} is a fine one.",
            "rejected": "No. Tea.",
        }
        for number, talk in enumerate(talks)
    ]
    source.write_text(json.dumps(pairs))
    exchanges.write_text(json.dumps([{"context": talk, "response": "Yes."} for talk in talks]))
    out, judge = tmp_path / "data", tmp_path / "judge"
    save_classifier(judge)
    plant(tmp_path, mark)
    assert main(["detect", str(exchanges), "--detector", str(judge)]) == 0
    assert main(["data", "prepare", str(source), "--out", str(out)]) == 0
    plant(out, mark)
    assert len(read_pairs(out).training) > 0
    again = ["data", "prepare", str(source), "--out", str(out), "--force"]
    assert main(again) == 2  # whatever is not parley's is not replaced


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_weights_that_would_run_code_are_refused(
    name: str, tmp_path: Path, mark: Path, unread: None
) -> None:
    """Alone in the folder, and under the name of a format that cannot."""
    model, judge = tmp_path / "model", tmp_path / "judge"
    save_language_model(make_model(1), model)
    save_classifier(judge)
    for folder in (model, judge):
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(torch_bytes(mark))
    with pytest.raises(ValueError, match=r"convert it to model\.safetensors|cannot be read"):
        load_language_model(model)
    with pytest.raises(Exception, match=r"holds more than tensors|deserializing header"):
        ClassifierDetector.load(str(judge), print)


def test_weights_of_tensors_alone_are_read_without_unpickling_objects(
    tmp_path: Path, unread: None
) -> None:
    """As DialoGPT's are published."""
    model = tmp_path / "model"
    made = make_model(1)
    save_language_model(made, model)
    (model / "model.safetensors").unlink()
    torch.save(made.model.state_dict(), model / "pytorch_model.bin")
    loaded = load_language_model(model).model.state_dict()
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_beside_a_model_is_not_run(
    file: str,
    tmp_path: Path,
    mark: Path,
    unread: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is anybody asked for it on the terminal."""
    model, judge = tmp_path / "model", tmp_path / "judge"
    save_language_model(make_model(1), model)
    save_classifier(judge)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    code = f"import os\nos.mkdir({str(mark)!r})\n"
    for folder in (model, judge):
        (folder / "evil.py").write_text(code)
        settings = json.loads((folder / file).read_text())
        settings |= {
            "auto_map": {
                "AutoConfig": "evil.Config",
                "AutoModelForCausalLM": "evil.Model",
                "AutoModelForSequenceClassification": "evil.Model",
                "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
            },
            "trust_remote_code": True,
        }
        (folder / file).write_text(json.dumps(settings))
    for load in (
        lambda: load_language_model(model),
        lambda: ClassifierDetector.load(str(judge), print),
    ):
        try:
            load()
        except ValueError as error:
            assert "trust_remote_code" in str(error)
    assert not mark.exists()


def test_episodes_of_objects_are_refused(tmp_path: Path, mark: Path, unread: None) -> None:
    (tmp_path / "episodes.npz").write_bytes(npz_bytes(mark))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        EpisodeSet.load(tmp_path / "episodes.npz")


@pytest.mark.slow
def test_training_resumed_and_begun_from_a_run_reads_no_pickle(
    tmp_path: Path, mark: Path, unread: None
) -> None:
    run, second = tmp_path / "run", tmp_path / "second"
    short = [*CARTS, "rollouts.num_env_runners=1", "stop.max_env_steps=192"]
    assert main(["train", "cartpole/ppo", "--run-dir", str(run), *short]) == 0
    plant(run, mark)
    more = ["--resume", "stop.max_env_steps=256"]
    assert main(["train", "cartpole/ppo", "--run-dir", str(run), *more]) == 0
    begin = [f"init_from={run}", "stop.max_env_steps=640"]
    assert main(["train", "cartpole/ppo", "--run-dir", str(second), *short, *begin]) == 0


@pytest.mark.slow
def test_models_of_a_dialogue_bring_no_pickle(
    tmp_path: Path, mark: Path, unread: None, quick_model_folder: Path
) -> None:
    model, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(quick_model_folder, model)
    plant(model, mark)
    talk = ["train", "dialogue/distort", "--run-dir", str(run)]
    seats = [f"{seat}={model}" for seat in ("distorter", "competitor")]
    assert main([*talk, *seats, *TINY_TALK, "ppo.minibatch_size=4"]) == 0
    plant(run, mark)
    assert main([*talk, "--resume", "stop.max_iterations=5"]) == 0
    assert main(["evaluate", str(run), "--episodes", "4"]) == 0


@pytest.mark.slow
def test_a_generator_is_tuned_resumed_measured_and_heard_without_a_pickle(
    tmp_path: Path,
    mark: Path,
    unread: None,
    quick_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, judge, run = tmp_path / "model", tmp_path / "judge", tmp_path / "run"
    shutil.copytree(quick_model_folder, model)
    save_classifier(judge)
    plant(tmp_path, mark)
    names = [f"model={model}", f"judges.judge={judge}", f"judges.detector={judge}"]
    tune = ["train", "dialogue/dpo", "--run-dir", str(run)]
    assert main([*tune, *names, *TINY_TUNING]) == 0
    reference = set((run / "reference").iterdir())
    plant(tmp_path, mark)
    assert main([*tune, "--resume"]) == 2  # its reference is not as the run left it
    for planted in set((run / "reference").iterdir()) - reference:
        planted.unlink()
    assert main([*tune, "--resume"]) == 0
    assert main(["evaluate", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n"))
    assert main(["chat", str(run)]) == 0


@pytest.mark.slow
def test_a_sweep_goes_on_without_a_pickle(tmp_path: Path, mark: Path, unread: None) -> None:
    run, wider = tmp_path / "run", "sweep.space.dpo.beta.grid=[0.05, 0.1]"
    with pytest.raises(SweepFailedError):
        sweep(run, wider, faults={"0.05": (3, "raise"), "0.1": (3, "raise")})
    plant(run, mark)
    (run / "trials" / ".tune").mkdir(exist_ok=True)
    plant(run / "trials" / ".tune", mark)
    assert sweep(run, wider, resume=True)["status"] == "done"
