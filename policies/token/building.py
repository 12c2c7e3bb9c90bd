"""The policies by name, and their files.

A policy's folder holds a transformers model (`config.json`, `model.safetensors`), which
`from_pretrained` loads without Ray, and the value head in `value_head.safetensors`.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import transformers.utils.logging
from torch import nn

from parley.policies.token.actor_critic import Settings
from parley.policies.token.table import POLICIES


def build_policy(name: str, settings: Settings) -> nn.Module:
    """A policy with fresh weights; an `actor_critic.ActorCritic`.

    Raises:
        ValueError: there is no policy of this name, or a size is impossible.
    """
    if name not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {name!r}")
    policy: nn.Module = _load_function(POLICIES[name].build)(settings)
    return policy


def save_policy(policy: nn.Module, folder: Path) -> None:
    """Write a policy's files into `folder`, which is made."""
    transformers.utils.logging.disable_progress_bar()
    save = getattr(policy, "save_files", None)
    if save is None:
        raise TypeError(f"cannot save a policy of type {type(policy).__name__}")
    save(folder)


def load_policy(folder: Path) -> nn.Module:
    """Read a policy that `save_policy` wrote; a language model alone gets a fresh value head.

    Raises:
        ValueError: the folder or a file is missing, truncated, or of an unknown model.
    """
    kind = _model_type(folder)
    loaders = {entry.model_type: entry.load for entry in POLICIES.values()}
    policy: nn.Module = _load_function(loaders.get(kind, POLICIES["gpt2"].load))(folder)
    return policy


def _load_function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def _model_type(folder: Path) -> str:
    path = folder / "config.json"
    try:
        return str(dict(json.loads(path.read_text(encoding="utf-8"))).get("model_type"))
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no model here, config.json is missing") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a JSON object ({error}); the file is damaged") from error
