"""Sequence classifiers as detectors: labels by name, batches by length, clear errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from parley.platform.language.tokenizer import train_tokenizer
from parley.platform.maxims.detector.classifier import (
    ClassifierDetector,
    ClassifierError,
    match_labels,
)
from parley.platform.maxims.loading import load_detector
from parley.platform.maxims.text.exchange import Exchange

NAMES = {0: "Manner", 1: "QUANTITY", 2: "relation", 3: "Quality"}
ROWS = [
    Exchange("[agent_1]: Hi there!", "FS1", "Hello."),
    Exchange("", "", "I like boats, and I like the sea even more than I like boats. " * 9),
    Exchange("[agent_1]: What is it? " * 200, "FS1", "A boat."),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier")
    texts = [f"{row.context} {row.response} [CONTEXT] [EVIDENCE]" for row in ROWS]
    tokenizer = train_tokenizer(texts * 3, 300, 128)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=16, n_layer=1, n_head=2,
        id2label=NAMES, label2id={name: index for index, name in NAMES.items()},
        pad_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    GPT2ForSequenceClassification(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_scores_are_the_models_own_by_the_order_of_the_maxims(folder: Path) -> None:
    lines: list[str] = []
    detector = load_detector(str(folder), "detector", lines.append)
    assert isinstance(detector, ClassifierDetector)
    assert np.array_equal(detector.thresholds, np.full(4, 0.5))
    assert len(lines) == 1
    row = ROWS[0]
    text = f"[CONTEXT] {row.context} [EVIDENCE] {row.evidence} [RESPONSE] {row.response}"
    with torch.no_grad():
        logits = detector.model(**detector.tokenizer(text, return_tensors="pt")).logits[0]
    expected = torch.sigmoid(logits)[[1, 3, 2, 0]].double().numpy()
    assert np.allclose(detector.score(*row), expected, atol=1e-6)


def test_batches_do_not_change_the_scores(folder: Path) -> None:
    detector = ClassifierDetector.load(str(folder), print)
    together = detector.score_rows(ROWS * 3)
    alone = np.concatenate([detector.score_rows([row]) for row in ROWS * 3])
    assert together.shape == (9, 4)
    assert np.allclose(together, alone, atol=1e-5)
    assert detector.score_rows([]).shape == (0, 4)


def test_thresholds_are_read_beside_the_model(folder: Path) -> None:
    path = folder / "thresholds.json"
    path.write_text(json.dumps({"quantity": 0.1, "quality": 0.2, "relation": 0.3, "manner": 0.4}))
    assert ClassifierDetector.load(str(folder), print).thresholds.tolist() == [0.1, 0.2, 0.3, 0.4]
    path.write_text('{"quantity": 0.1}')
    with pytest.raises(ClassifierError, match="does not give a number"):
        ClassifierDetector.load(str(folder), print)
    path.unlink()


def test_a_classifier_without_its_head_is_refused(folder: Path, tmp_path: Path) -> None:
    """Its head would be drawn anew in every process."""
    config = GPT2Config(
        vocab_size=300, n_positions=128, n_embd=16, n_layer=1, n_head=2, id2label=NAMES,
        label2id={name: index for index, name in NAMES.items()},
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / file, tmp_path)
    with pytest.raises(ClassifierError, match=r"missing score\.weight, .*saved with its head, or"):
        load_detector(str(tmp_path), "detector", print)


def test_a_head_of_other_labels_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "two")
    config = GPT2Config.from_pretrained(folder, num_labels=2)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "two")
    shutil.copy(folder / "config.json", tmp_path / "two")
    with pytest.raises(ClassifierError, match=r"of another shape score\.weight"):
        ClassifierDetector.load(str(tmp_path / "two"), print)


def test_a_text_longer_than_the_table_of_positions_is_cut(tmp_path: Path) -> None:
    """RoBERTa counts positions from the one behind its padding token: two rows serve nothing."""
    tokenizer = train_tokenizer(["what do you say to a boat"] * 3, 300, 40)
    config = RobertaConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=40, pad_token_id=1, bos_token_id=0,
        eos_token_id=0, id2label=NAMES, label2id={name: index for index, name in NAMES.items()},
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    detector = ClassifierDetector.load(str(tmp_path), print)
    assert np.isfinite(detector.score_rows(ROWS)).all()


def test_other_labels_are_refused() -> None:
    with pytest.raises(ClassifierError, match="LABEL_0, LABEL_1; a detector needs quantity"):
        match_labels({0: "LABEL_0", 1: "LABEL_1"}, "some/model")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match=r"cannot be loaded"):
        load_detector(str(tmp_path), "detector", print)
    with pytest.raises(ValueError, match="no detector folder"):
        load_detector(str(tmp_path / "absent"), "detector", print)
