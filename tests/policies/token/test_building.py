"""Policies by name, and their folders: the same weights back, and clear words for bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.core.columns import Columns
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from parley.policies.dhmm_gpt2 import BeliefFilter
from parley.policies.token.actor_critic import VALUE_HEAD_FILE, LanguageActorCritic
from parley.policies.token.building import build_policy, load_policy, save_policy
from parley.policies.token.mlp import TokenMLP
from parley.policies.token.table import POLICIES
from parley.policies.token.window_module import TokenModule

SETTINGS: dict[str, Any] = {
    "vocab_size": 24,
    "num_tokens": 10,
    "embed_size": 16,
    "heads": 2,
    "ff_hidden": 24,
    "num_states": 4,
    "max_len": 16,
    "initializer_range": 0.3,
}
TOKENS = torch.randint(4, 24, (6, 10), generator=torch.Generator().manual_seed(1))
NAMES = sorted(POLICIES)


def make_policy(name: str, seed: int = 0) -> Any:  # a module, called for a tuple
    torch.manual_seed(seed)
    return build_policy(name, SETTINGS).eval()


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_gives_logits_and_values(name: str) -> None:
    logits, values = make_policy(name)(TOKENS)
    assert (logits.shape, values.shape) == ((6, 2), (6,))
    assert logits.dtype == values.dtype == torch.float32


def test_gpt2_is_dhmm_gpt2_without_its_filters() -> None:
    def has_filter(policy: nn.Module) -> bool:
        return any(isinstance(module, BeliefFilter) for module in policy.modules())

    assert has_filter(make_policy("dhmm_gpt2"))
    assert not has_filter(make_policy("gpt2"))
    assert make_policy("gpt2").language_model.config.counter_heads == 0


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="dhmm_gpt2, gpt2, mlp, got 'lstm'"):
        build_policy("lstm", SETTINGS)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_saved_policy_comes_back_the_same(name: str, tmp_path: Path) -> None:
    policy = make_policy(name)
    save_policy(policy, tmp_path / "policy")
    loaded: Any = load_policy(tmp_path / "policy").eval()
    assert type(loaded) is type(policy)
    assert loaded.state_dict().keys() == policy.state_dict().keys()
    for found, expected in zip(loaded(TOKENS), policy(TOKENS), strict=True):
        assert torch.equal(found, expected)


@torch.no_grad()
def test_the_folder_is_a_transformers_model(tmp_path: Path) -> None:
    policy = make_policy("dhmm_gpt2")
    save_policy(policy, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    whole = model(TOKENS).logits[:, -1]
    torch.testing.assert_close(whole[:, [2, 3]], policy(TOKENS)[0])


def test_a_language_model_alone_gets_a_fresh_value_head(tmp_path: Path) -> None:
    policy = make_policy("dhmm_gpt2")
    policy.language_model.save_pretrained(tmp_path)
    loaded = load_policy(tmp_path)
    assert isinstance(loaded, LanguageActorCritic)
    torch.testing.assert_close(loaded(TOKENS)[0], policy(TOKENS)[0])


def test_another_module_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot save a policy of type Linear"):
        save_policy(nn.Linear(2, 2), tmp_path)


@pytest.mark.parametrize("damage", ["missing", "truncated"])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mlp", "config.json"),
        ("mlp", "model.safetensors"),
        ("dhmm_gpt2", "config.json"),
        ("dhmm_gpt2", "model.safetensors"),
        ("dhmm_gpt2", VALUE_HEAD_FILE),
    ],
)
def test_a_damaged_file_is_named(name: str, file: str, damage: str, tmp_path: Path) -> None:
    save_policy(make_policy(name), tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).unlink()
    if damage == "truncated":
        (tmp_path / file).write_bytes(content[: len(content) // 2])
    elif file == VALUE_HEAD_FILE:
        return  # a language model alone
    with pytest.raises(ValueError, match=file):
        load_policy(tmp_path)


def test_no_folder_and_an_unknown_model_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent: no model here, config\.json is missing"):
        load_policy(tmp_path / "absent")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match="llama"):
        load_policy(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json"):
        load_policy(tmp_path)


@pytest.mark.parametrize("change", ["a missing weight", "a further weight", "another shape"])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mlp", "model.safetensors"),
        ("dhmm_gpt2", "model.safetensors"),
        ("dhmm_gpt2", VALUE_HEAD_FILE),
    ],
)
def test_weights_of_another_model_are_never_filled_up(
    name: str, file: str, change: str, tmp_path: Path
) -> None:
    save_policy(make_policy(name), tmp_path)
    weights = load_file(tmp_path / file)
    first = sorted(weights)[0]
    if change == "a missing weight":
        del weights[first]
    elif change == "a further weight":
        weights["stranger"] = torch.zeros(2)
    else:
        weights[first] = torch.zeros(3, 3, 3)
    save_file(weights, tmp_path / file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=file):
        load_policy(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_rllibs_module_is_the_policy_drawn_from_its_own_seed(name: str) -> None:
    def make_module(seed: int) -> TokenModule:
        settings = {"policy": name, "settings": SETTINGS, "seed": seed}
        return TokenModule(
            observation_space=None, action_space=None, model_config=settings, inference_only=True
        )

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    module = make_module(3)
    assert torch.equal(torch.rand(3), expected)
    policy = make_policy(name, seed=3)
    output = module.forward_exploration({Columns.OBS: TOKENS})
    logits, values = policy(TOKENS)
    assert torch.equal(output[Columns.ACTION_DIST_INPUTS], logits)
    assert torch.equal(output[Columns.VF_PREDS], values)
    assert torch.equal(module.compute_values({Columns.OBS: TOKENS}), values)
    assert isinstance(module.policy, TokenMLP | LanguageActorCritic)
    other = make_module(4)
    assert not torch.equal(other.compute_values({Columns.OBS: TOKENS}), values)
