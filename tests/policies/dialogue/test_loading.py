"""A language model comes back as it was saved, and a folder that is not one says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    PreTrainedModel,
)

from parley.policies.dialogue.loading import load_language_model
from parley.policies.dialogue.parts import build_from_parts, take_apart
from tests.policies.dialogue.model_fixtures import (
    make_gpt2,
    make_llama,
    make_tokenizer,
    save,
)

TOKENS = torch.tensor([[5, 9, 200, 0, 7]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save(make_gpt2(), folder)
    return folder


@torch.no_grad()
@pytest.mark.parametrize("make", [make_gpt2, make_llama])
def test_round_trip(
    make: Callable[..., PreTrainedModel], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = make()
    save(model, tmp_path)
    loaded = load_language_model(tmp_path)
    assert torch.equal(loaded.model(TOKENS).logits, model(TOKENS).logits)
    assert (loaded.end_token, loaded.context, loaded.source) == (0, 48, str(tmp_path))
    assert not loaded.model.training
    text = "Hello, how's it going?"
    assert loaded.tokenizer.decode(loaded.tokenizer.encode(text)) == text
    assert loaded.tokenizer.encode(text) == make_tokenizer().encode(text)
    assert capfd.readouterr() == ("", "")


def test_weights_come_in_the_width_asked_for(folder: Path) -> None:
    assert load_language_model(folder).model.dtype == torch.float32
    assert load_language_model(folder, dtype=torch.bfloat16).model.dtype == torch.bfloat16


@torch.no_grad()
@pytest.mark.parametrize("make", [make_gpt2, make_llama])
@pytest.mark.parametrize("tied", [True, False])
def test_a_model_travels_in_parts(make: Callable[..., PreTrainedModel], tied: bool) -> None:
    model = make(tie_word_embeddings=tied)
    parts = take_apart(model)
    assert ("lm_head.weight" in parts.state) != tied
    built = build_from_parts(json.loads(json.dumps(parts.config)), parts.state)
    assert torch.equal(built(TOKENS).logits, model(TOKENS).logits)
    assert (built.get_output_embeddings().weight is built.get_input_embeddings().weight) == tied
    assert not built.training
    next(iter(parts.state.values())).zero_()  # a copy: the model keeps its own
    assert not torch.equal(
        build_from_parts(parts.config, parts.state)(TOKENS).logits, model(TOKENS).logits
    )


def test_parts_that_do_not_fit() -> None:
    parts = take_apart(make_gpt2())
    with pytest.raises(ValueError, match=r"another model: missing transformer\.h\.1\.attn.* and 9"):
        build_from_parts({**parts.config, "n_layer": 2}, parts.state)
    with pytest.raises(ValueError, match=r"another shape transformer\.h\.0"):
        build_from_parts({**parts.config, "n_embd": 32}, parts.state)
    with pytest.raises(ValueError, match="language model of type 'nothing'"):
        build_from_parts({"model_type": "nothing"})


def change(file: str, **changes: Any) -> Callable[[Path], None]:
    """Change keys of a JSON file; None takes a key out."""

    def apply(folder: Path) -> None:
        path = folder / file
        fields = json.loads(path.read_text()) | changes
        kept = {key: value for key, value in fields.items() if value is not None}
        path.write_text(json.dumps(kept))

    return apply


def remove(*files: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        for file in files:
            (folder / file).unlink()

    return apply


def overwrite(file: str, text: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / file).write_text(text)

    return apply


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("config.json"), r"config\.json is missing; name the folder"),
        (remove("model.safetensors"), r"no weights \(none of model\.safetensors, .*; copy them"),
        (remove("tokenizer.json", "tokenizer_config.json"), "there is no tokenizer .*; save the"),
        (remove("tokenizer.json"), "its tokenizer cannot be read .*; save the tokenizer"),
        (overwrite("config.json", "{"), "is not a valid JSON file; its config.json must be"),
        (overwrite("config.json", "{}"), "model_type.*; its config.json must be"),
        (change("config.json", model_type="nope"), "model type `nope`"),
        (overwrite("tokenizer.json", "{"), "its tokenizer cannot be read"),
        (cut_weights, r"weights cannot be read \(.*\); the file is truncated or damaged"),
        (empty_weights, r"weights cannot be read \(.*\); the file is truncated or damaged"),
        (change("config.json", n_layer=2), r"another model: missing transformer\.h\.1"),
        (change("config.json", n_embd=8), r"of another shape transformer\.h\.0"),
        (change("config.json", vocab_size=999), r"of another shape transformer\.wte\.weight"),
        (change("config.json", **LLAMA), r"another model: missing model\.embed_tokens"),
        (change("tokenizer_config.json", eos_token=None), "no end-of-text token, .*; set eos_tok"),
    ],
)
def test_damaged_folders(
    folder: Path,
    damage: Callable[[Path], None],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    damage(folder)
    with pytest.raises(
        ValueError, match=f"cannot load a language model from {folder}: .*{message}"
    ):
        load_language_model(folder)
    assert capfd.readouterr() == ("", "")


def test_more_layers_than_the_configuration_has(tmp_path: Path) -> None:
    save(make_gpt2(n_layer=2), tmp_path)
    change("config.json", n_layer=1)(tmp_path)
    with pytest.raises(ValueError, match=r"missing none, .* unexpected transformer\.h\.1"):
        load_language_model(tmp_path)


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    save(make_gpt2(vocab_size=100), tmp_path)
    with pytest.raises(ValueError, match=r"does not fit: it has ids up to 256 .* ends at 99; use"):
        load_language_model(tmp_path)


def test_a_model_may_have_more_tokens_than_its_tokenizer(tmp_path: Path) -> None:
    save(make_gpt2(vocab_size=264), tmp_path)
    assert load_language_model(tmp_path).end_token == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/no/such/folder", "there is no such folder; name a folder that holds"),
        ("./nowhere", "there is no such folder; name a folder"),
        ("nobody/such-model", "not in the local Hugging Face cache.*; check the name, download"),
        ("such-model", "no folder of this name here"),
        ("not a name!", "cannot load the language model 'not a name!'"),
    ],
)
def test_models_that_are_not_there(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_language_model(source)
