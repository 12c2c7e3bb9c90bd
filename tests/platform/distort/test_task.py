"""From an experiment to models, rules and openers; and what does not fit together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from parley.envs.dialogue.openers import load_openers
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.task import DialogueTask, make_dialogue_task
from parley.platform.errors import InputError
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.settings.loading import load_experiment
from parley.policies.dialogue.loading import load_language_model, save_language_model
from tests.platform.language.tokenizer_fixtures import MAKERS


def make_task(folder: Path, *overrides: str, **sources: str) -> DialogueTask:
    models = [f"{seat}={folder}" for seat in ("distorter", "competitor")]
    config = load_experiment("dialogue/distort", [*models, *overrides])
    assert isinstance(config, DialogueDistortConfig)
    return make_dialogue_task(config, print, sources or None)


def refuse(folder: Path, *overrides: str, parts: list[str], **sources: str) -> None:
    with pytest.raises(InputError) as caught:
        make_task(folder, *overrides, **sources)
    for part in parts:
        assert part in str(caught.value)


def test_models_rules_and_openers_fit_together(quick_model_folder: Path) -> None:
    task = make_task(quick_model_folder)
    model = task.models["distorter"]
    assert task.models["competitor"] is model  # loaded once
    assert task.settings.seats == ("distorter", "competitor")
    assert task.settings.end_token == model.end_token
    assert task.settings.vocab_size == 600
    assert task.settings.window + task.settings.max_reply_tokens + 1 == model.context
    assert (task.sampling.top_k, task.sampling.max_reply_tokens) == (50, 24)


@pytest.mark.parametrize("kind", ["llama", "metaspace first", "byte level"])
def test_a_beginning_takes_room_and_stands_in_no_opener(tmp_path: Path, kind: str) -> None:
    tokenizer = MAKERS[kind]()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=128, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "openers.jsonl").write_text('"Hello Ann</s>"\n{"text": "Do you like jazz?"}\n')
    task = make_task(tmp_path, f"dialogue.openers={tmp_path / 'openers.jsonl'}")
    beginning = [] if kind == "byte level" else [tokenizer.bos_token_id]
    assert list(task.beginning) == beginning
    assert task.settings.window + task.settings.max_reply_tokens + 1 + len(beginning) == 128
    openers = [tokens.tolist() for tokens in (*task.train_openers, *task.heldout_openers)]
    expected = (tokenizer(text)["input_ids"] for text in ("Hello Ann", "Do you like jazz?"))
    assert sorted(openers) == sorted(ids[len(beginning) :] for ids in expected)


def test_openers_that_cannot_be_read_are_named(quick_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "openers.csv").write_text("Hello\n")
    path = tmp_path / "openers.csv"
    parts = [f"dialogue.openers: {path}: tables are not read"]
    refuse(quick_model_folder, f"dialogue.openers={path}", parts=parts)


def test_every_opener_is_for_training_or_for_evaluation(quick_model_folder: Path) -> None:
    task = make_task(quick_model_folder)
    texts = [
        str(task.tokenizer.decode(tokens))
        for tokens in (*task.train_openers, *task.heldout_openers)
    ]
    assert sorted(texts) == sorted(load_openers(None))
    assert len(task.heldout_openers) == pytest.approx(0.25 * len(texts), rel=0.3)
    for tokens in task.train_openers:
        assert tokens.dtype == np.int32
        assert task.settings.end_token not in tokens


def test_openers_come_from_a_file(quick_model_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "openers.txt"
    path.write_text("Hello\nHow are you?\nGood morning!\n")
    task = make_task(quick_model_folder, f"openers={path}", "openers_holdout=0.4")
    sizes = (len(task.train_openers), len(task.heldout_openers))
    assert min(sizes) >= 1 and sum(sizes) == 3


def test_a_seats_model_may_come_from_elsewhere(quick_model_folder: Path, tmp_path: Path) -> None:
    """As evaluation asks for it: what the checkpoint names, not what the settings say."""
    copy = tmp_path / "copy"
    shutil.copytree(quick_model_folder, copy)
    task = make_task(tmp_path / "gone", distorter=str(copy), competitor=str(quick_model_folder))
    assert task.models["distorter"].source == str(copy)
    assert task.models["distorter"] is not task.models["competitor"]


def test_a_checkpoint_may_speak(quick_model_folder: Path, tmp_path: Path) -> None:
    model = load_language_model(quick_model_folder)

    def save(folder: Path) -> None:
        save_language_model(model, folder / "distorter")

    run = tmp_path / "run"
    checkpoint = CheckpointStore(run / "checkpoints").save(3, save, {}, {})
    expected = str(checkpoint.policy_folders["distorter"])
    for source in (run, checkpoint.path):
        task = make_task(quick_model_folder, f"distorter={source}")
        assert task.models["distorter"].source == expected


def test_a_checkpoint_of_several_models_asks_which(
    quick_model_folder: Path, tmp_path: Path
) -> None:
    model = load_language_model(quick_model_folder)

    def save(folder: Path) -> None:
        for seat in ("anna", "ben"):
            save_language_model(model, folder / seat)

    checkpoint = CheckpointStore(tmp_path).save(1, save, {}, {})
    refuse(
        quick_model_folder,
        f"distorter={checkpoint.path}",
        parts=["several models", "policies/anna", "policies/ben"],
    )


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["dialogue.window=180"], ["dialogue.window 180", "192 tokens", "lower one"]),
        (["max_reply_tokens=192"], ["max_reply_tokens 192", "192 tokens", "lower one"]),
        (["dialogue.window=24"], ["window 24", "at least 25"]),
        (["dialogue.window=7", "max_reply_tokens=6"], ["opener", "dialogue.openers", "window"]),
    ],
)
def test_rules_that_the_models_cannot_follow_are_refused(
    overrides: list[str], parts: list[str], quick_model_folder: Path
) -> None:
    refuse(quick_model_folder, *overrides, parts=parts)


def test_seats_of_different_tokenizers_cannot_talk(
    quick_model_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(quick_model_folder, other)
    tokenizer: Any = AutoTokenizer.from_pretrained(quick_model_folder)
    words = (f"line{number}\n" * 5 for number in range(200))
    changed = tokenizer.train_new_from_iterator(words, len(tokenizer))
    changed.save_pretrained(other)
    refuse(
        quick_model_folder,
        f"competitor={other}",
        parts=["'distorter'", "'competitor'", "different tokenizers", "one family"],
    )
