"""A saved DHMM-GPT2 comes back the same by every door, and a bad folder says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM, load_dhmm_gpt2

TOKENS = torch.randint(17, (2, 20), generator=torch.Generator().manual_seed(1))


def make_model(tie_embeddings: bool = True) -> DHMMGPT2ForCausalLM:
    torch.manual_seed(0)
    config = DHMMGPT2Config(
        vocab_size=17,
        embed_size=16,
        heads=2,
        layers=2,
        filter_layers=(1,),
        mutation_noise=0.5,
        tie_embeddings=tie_embeddings,
    )
    return DHMMGPT2ForCausalLM(config).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_model().save_pretrained(tmp_path)
    return tmp_path


@torch.no_grad()
@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_round_trip(tmp_path: Path, tie_embeddings: bool) -> None:
    model = make_model(tie_embeddings)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    expected = model(TOKENS).logits
    for load in (
        load_dhmm_gpt2,
        DHMMGPT2ForCausalLM.from_pretrained,
        AutoModelForCausalLM.from_pretrained,
    ):
        loaded = load(tmp_path).eval()
        assert type(loaded) is DHMMGPT2ForCausalLM
        assert torch.equal(loaded(TOKENS).logits, expected)
    base = AutoModel.from_pretrained(tmp_path).eval()
    hidden = model.transformer(TOKENS).last_hidden_state
    assert torch.equal(base(TOKENS).last_hidden_state, hidden)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.filter_layers == (1,) and config.mutation_noise == 0.5


def test_weights_keep_their_width(tmp_path: Path) -> None:
    make_model().bfloat16().save_pretrained(tmp_path)
    assert load_dhmm_gpt2(tmp_path).dtype == torch.bfloat16


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        load_dhmm_gpt2(tmp_path / "nowhere")


def test_missing_files(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "elsewhere")
    with pytest.raises(ValueError, match=rf"{folder}: model\.safetensors is missing"):
        load_dhmm_gpt2(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=rf"{folder}: config\.json is missing"):
        load_dhmm_gpt2(folder)


@pytest.mark.parametrize("kept", [0, 5, 1000])
def test_truncated_weights(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"{folder}: model\.safetensors is damaged"):
        load_dhmm_gpt2(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2', expected 'dhmm_gpt2'"),
        ({"num_states": 1}, "num_states must be >= 2, got 1"),
        ({"num_states": 9}, r"model\.safetensors: .*size mismatch"),
        ({"layers": 3}, r"missing keys \['transformer.blocks.2"),
        ({"filter_layers": []}, r"unexpected keys \['transformer.blocks.1.filter"),
    ],
)
def test_configuration_that_does_not_fit(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=f"(?s){folder}: .*{message}"):
        load_dhmm_gpt2(folder)


def test_configuration_that_is_not_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        load_dhmm_gpt2(folder)


def test_missing_and_unexpected_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["stranger"] = weights.pop("transformer.norm.weight")
    save_file(weights, path)
    with pytest.raises(
        ValueError, match=r"missing keys \['transformer.norm.weight'\], .* keys \['stranger'\]"
    ):
        load_dhmm_gpt2(folder)
