"""What a model is asked before it is trusted: its head, its sight, its positions, its adapters."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    CTRLTokenizer,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    GraniteConfig,
    LlamaConfig,
    Mamba2Config,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    RobertaConfig,
    RwkvConfig,
)

from parley.policies.dialogue.loading import (
    LanguageModel,
    load_language_model,
    save_language_model,
)
from parley.policies.dialogue.output_head import find_head_facts, make_head
from parley.policies.dialogue.parts import build_from_parts, check_travels, take_apart
from parley.policies.dialogue.probing import (
    context_of,
    find_position_limit,
    length_beyond_sight,
    limits_of_sight,
)
from parley.policies.dialogue.reader_choice import check_speaker, choose_reader
from parley.policies.dialogue.reading import CachedReader, RereadingReader
from tests.policies.dialogue.model_fixtures import make_gpt2, make_tokenizer, save

IDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
SIZES: dict[str, Any] = {
    "vocab_size": 257,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    **IDS,
}
ENCODER: dict[str, Any] = {
    "vocab_size": 257,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 60,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
STATE: dict[str, Any] = {
    "vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 1, "state_size": 8, "head_dim": 16,
    "num_heads": 4, "n_groups": 1, "max_position_embeddings": 96,
}  # fmt: skip
MAMBA2 = Mamba2Config(**STATE, **IDS)


def build(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.eval()


def neo(window: int) -> GPTNeoConfig:
    return GPTNeoConfig(
        vocab_size=257, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=48,
        attention_types=[[["global", "local"], 1]], window_size=window,
        max_position_embeddings=96, **IDS,
    )  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(
    ("config", "is_linear"),
    [
        (LlamaConfig(**SIZES), True),
        (GraniteConfig(**SIZES, logits_scaling=8.0), False),
        (CohereConfig(**SIZES), False),
        (Gemma2Config(**SIZES, head_dim=16), False),
        (Gemma2Config(**SIZES, head_dim=16, final_logit_softcapping=None), True),
        (RobertaConfig(**ENCODER, is_decoder=True), False),
    ],
)
def test_logits_come_from_hidden_states_as_the_model_makes_them(
    config: PreTrainedConfig, is_linear: bool
) -> None:
    """Gemma's cap is a matter of thousandths at the small logits of a fresh model."""
    model = build(config)
    assert find_head_facts(model).is_linear == is_linear
    tokens = torch.tensor([[5, 9, 200, 7, 8]])
    hidden = model.base_model(tokens, use_cache=False).last_hidden_state
    expected = model(tokens, use_cache=False).logits[0, 2:4]
    found = make_head(model)(hidden[0, 2:4])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_gradients_pass_a_head_that_does_more() -> None:
    model = build(GraniteConfig(**SIZES, logits_scaling=8.0))
    hidden = torch.randn(3, 32, requires_grad=True)
    make_head(model)(hidden).sum().backward()
    head = model.get_output_embeddings().weight
    assert head.grad is not None and hidden.grad is not None
    torch.testing.assert_close(hidden.grad[0], head.detach().sum(0) / 8.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RobertaConfig(**ENCODER), "is not causal: .* set is_decoder = true"),
        (
            RwkvConfig(
                vocab_size=257, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32,
                context_length=96, **IDS,
            ),
            "changes its weights when it only reads .*rescale_every = 0",
        ),
    ],
)  # fmt: skip
def test_models_that_cannot_speak_are_refused_by_name(
    config: PreTrainedConfig, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_speaker(build(config))


def test_limits_of_sight_are_read_from_the_configuration() -> None:
    assert limits_of_sight(build(neo(16)), 96) == [16]
    assert length_beyond_sight(build(neo(16)), 96) == 28
    assert limits_of_sight(build(neo(256)), 96) == []  # never reached
    assert length_beyond_sight(build(neo(256)), 4096) is None  # too long to try
    assert length_beyond_sight(build(Gemma2Config(**SIZES, head_dim=16)), 96) is None
    qwen = build(Qwen2Config(**SIZES, max_window_layers=28))
    assert limits_of_sight(qwen, 96) == []


@pytest.mark.parametrize(("window", "reader"), [(16, RereadingReader), (256, CachedReader)])
def test_windows_count_where_a_dialogue_may_be_longer(window: int, reader: type) -> None:
    mistral = build(MistralConfig(**SIZES, sliding_window=window))
    assert type(choose_reader(mistral, 2, 96)) is reader


def test_tables_of_positions_limit_the_context() -> None:
    assert find_position_limit(build(LlamaConfig(**SIZES))) is None
    assert context_of(build(LlamaConfig(**SIZES))) == 96
    opt = OPTConfig(
        vocab_size=257, hidden_size=32, ffn_dim=48, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=32, **IDS,
    )  # fmt: skip
    assert context_of(build(opt)) == 64  # its table has two rows more
    assert context_of(build(RobertaConfig(**ENCODER, is_decoder=True))) == 58


def test_infinity_travels_in_a_configuration() -> None:
    model = build(MAMBA2)
    assert math.isinf(model.config.time_step_limit[1])
    parts = take_apart(model)
    built = build_from_parts(json.loads(json.dumps(parts.config)), parts.state)
    assert list(built.config.time_step_limit) == list(model.config.time_step_limit)
    tokens = torch.tensor([[5, 9, 200]])
    with torch.no_grad():
        assert torch.equal(built(tokens).logits, model(tokens).logits)


def test_a_configuration_that_changes_on_its_way_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build(GPT2Config(vocab_size=257, n_embd=16, n_layer=1, n_head=2, n_positions=48, **IDS))
    plain = GPT2Config.from_dict.__func__  # type: ignore[attr-defined]

    def forget(cls: type[GPT2Config], settings: dict[str, Any], /, **options: Any) -> Any:
        return plain(cls, {**settings, "resid_pdrop": 0.5}, **options)

    check_travels(model)
    monkeypatch.setattr(GPT2Config, "from_dict", classmethod(forget))
    with pytest.raises(ValueError, match=r"does not come out .* \(resid_pdrop\)"):
        check_travels(model)


def test_a_tokenizer_without_a_rust_backend_is_refused(tmp_path: Path) -> None:
    save(make_gpt2(), tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    (tmp_path / "vocab.json").write_text(json.dumps({"<unk>": 0, "a</w>": 1}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    slow = CTRLTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    slow.eos_token = "<unk>"
    slow.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"\(CTRLTokenizer\) runs in Python alone, .*; save it as"):
        load_language_model(tmp_path)


@pytest.fixture
def adapted(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """The folders of a model and of an adapter of it, and the logits of the two together."""
    import peft

    base, folder = tmp_path / "base", tmp_path / "adapter"
    save(make_gpt2(n_layer=2), base)
    model = load_language_model(base).model
    lora = peft.LoraConfig(r=4, target_modules="all-linear", fan_in_fan_out=True)
    together: Any = peft.get_peft_model(model, lora)
    with torch.no_grad():
        for name, parameter in together.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    together.save_pretrained(folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "base"}))
    with torch.no_grad():
        return base, folder, together.eval()(torch.tensor([[5, 9, 200]])).logits.numpy()


def test_the_folder_of_an_adapter_means_the_merged_model(
    adapted: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    base, folder, expected = adapted
    with_bases_tokenizer = load_language_model(folder)
    make_tokenizer().save_pretrained(folder)
    for loaded in (with_bases_tokenizer, load_language_model(folder)):
        with torch.no_grad():
            found = loaded.model(torch.tensor([[5, 9, 200]])).logits.numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert all(parameter.requires_grad for parameter in loaded.model.parameters())
        assert type(loaded.model) is type(load_language_model(base).model)
    save_language_model(with_bases_tokenizer, tmp_path / "merged")
    with torch.no_grad():
        found = load_language_model(tmp_path / "merged").model(torch.tensor([[5, 9, 200]])).logits
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def rename_base(base: Path, folder: Path) -> None:
    base.rename(base.with_name("elsewhere"))


def put_together(base: Path, folder: Path) -> None:
    for file in base.iterdir():
        shutil.copy(file, folder)


def change_base(base: Path, folder: Path) -> None:
    shutil.rmtree(base)
    save(make_gpt2(n_layer=1), base)


def name_itself(base: Path, folder: Path) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "."}))


def cut_adapter(base: Path, folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rename_base, r"the model base that its adapter changes cannot be loaded .*; set base_mod"),
        (put_together, r"lies there too, .*; delete the adapter_\* files if they have"),
        (change_base, r"its adapter is of another model: missing none, unexpected .*h\.1"),
        (name_itself, "names another adapter"),
        (cut_adapter, "its adapter cannot be put into GPT2LMHeadModel"),
    ],
)
def test_adapters_that_cannot_be_merged_say_what_to_do(
    adapted: tuple[Path, Path, np.ndarray], damage: Callable[[Path, Path], None], message: str
) -> None:
    base, folder, _ = adapted
    damage(base, folder)
    with pytest.raises(ValueError, match=message):
        load_language_model(folder)


def test_a_model_that_cannot_speak_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    model = build(RobertaConfig(**ENCODER))
    save_language_model(LanguageModel(model, make_tokenizer(), 0, 48, "here"), tmp_path)
    with pytest.raises(ValueError, match=f"cannot use the language model {tmp_path}: .*not causal"):
        load_language_model(tmp_path)
