"""The policies by name, and their files.

A policy's folder holds a transformers model (`config.json`, `model.safetensors`), which
`from_pretrained` loads without Ray, and the value head in `value_head.safetensors`. A new policy
is a file and a row of `POLICIES`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers.utils.logging
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from parley.policies.dhmm_gpt2 import DHMMGPT2Config
from parley.policies.dhmm_gpt2.loading import load_dhmm_gpt2
from parley.policies.token.actor_critic import LanguageActorCritic, build_language_policy
from parley.policies.token.mlp import TokenMLP, TokenMLPConfig

VALUE_HEAD_FILE = "value_head.safetensors"

Settings = Mapping[str, Any]
"""`vocab_size`, `num_tokens` (of a window), for language models `DHMMGPT2Config`'s sizes, and where
it is known `acting`: what one has to know to play with the policy."""


def _language_sizes(settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "num_tokens"}


def _build_dhmm_gpt2(settings: Settings) -> nn.Module:
    return build_language_policy(DHMMGPT2Config(**_language_sizes(settings)))


def _build_gpt2(settings: Settings) -> nn.Module:
    no_filter = {"counter_heads": 0, "filter_heads": 0}
    return build_language_policy(DHMMGPT2Config(**{**_language_sizes(settings), **no_filter}))


def _build_mlp(settings: Settings) -> nn.Module:
    return TokenMLP(
        TokenMLPConfig(
            vocab_size=settings["vocab_size"],
            num_tokens=settings["num_tokens"],
            acting=settings.get("acting"),
        )
    )


POLICIES: dict[str, Callable[[Settings], nn.Module]] = {
    "dhmm_gpt2": _build_dhmm_gpt2,
    "gpt2": _build_gpt2,
    "mlp": _build_mlp,
}


def build_policy(name: str, settings: Settings) -> nn.Module:
    """A policy with fresh weights; an `actor_critic.ActorCritic`.

    Raises:
        ValueError: there is no policy of this name, or a size is impossible.
    """
    if name not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {name!r}")
    return POLICIES[name](settings)


def save_policy(policy: nn.Module, folder: Path) -> None:
    """Write a policy's files into `folder`, which is made."""
    transformers.utils.logging.disable_progress_bar()
    if isinstance(policy, LanguageActorCritic):
        policy.language_model.save_pretrained(folder)
        head = {name: t.contiguous() for name, t in policy.value_head.state_dict().items()}
        save_file(head, folder / VALUE_HEAD_FILE)
    elif isinstance(policy, TokenMLP):
        policy.save_pretrained(folder)
    else:
        raise TypeError(f"cannot save a policy of type {type(policy).__name__}")


def load_policy(folder: Path) -> nn.Module:
    """Read a policy that `save_policy` wrote; a language model alone gets a fresh value head.

    Raises:
        ValueError: the folder or a file is missing, truncated, or of an unknown model.
    """
    kind = _model_type(folder)
    if kind == TokenMLPConfig.model_type:
        return _load_mlp(folder)
    policy = LanguageActorCritic(load_dhmm_gpt2(folder))
    head_file = folder / VALUE_HEAD_FILE
    if head_file.exists():
        _load_weights(policy.value_head, head_file)
    return policy


def _load_mlp(folder: Path) -> TokenMLP:
    """Unlike `from_pretrained`, never fills missing weights with random numbers."""
    config: TokenMLPConfig = TokenMLPConfig.from_pretrained(folder)
    model = TokenMLP(config)
    _load_weights(model, folder / "model.safetensors")
    model.eval()
    return model


def _model_type(folder: Path) -> str:
    path = folder / "config.json"
    try:
        return str(dict(json.loads(path.read_text(encoding="utf-8"))).get("model_type"))
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no model here, config.json is missing") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a JSON object ({error}); the file is damaged") from error


def _load_weights(module: nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(_read_tensors(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: weights of another model ({error})") from error


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: the weights are missing") from error
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: cannot read the weights ({error}); the file is truncated or damaged"
        ) from error
