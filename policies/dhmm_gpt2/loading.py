"""Load a DHMM-GPT2 from a folder, with errors a person can act on.

`from_pretrained` fills missing weights with random numbers and warns; here every doubt is an error.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from parley.policies.dhmm_gpt2.configuration import DHMMGPT2Config
from parley.policies.dhmm_gpt2.model import DHMMGPT2ForCausalLM

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"


def load_dhmm_gpt2(folder: str | Path) -> DHMMGPT2ForCausalLM:
    """The model saved in `folder` by `save_pretrained`, on CPU, in evaluation mode.

    Raises:
        ValueError: no such folder, a missing or damaged file, a configuration of another model
            type or out of range, weights that are missing, unexpected or of another shape. The
            message names the folder and the reason.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"cannot load DHMM-GPT2 from {folder}: no such folder")
    config = _read_config(folder)
    weights = _read_weights(folder)
    model = DHMMGPT2ForCausalLM(config)
    if isinstance(config.dtype, torch.dtype):
        model.to(dtype=config.dtype)  # type: ignore[call-arg]
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # a weight of another shape
        raise _failure(folder, f"{WEIGHTS_NAME}: {error}") from error
    if config.tie_embeddings:
        missing = [name for name in missing if name != "lm_head.weight"]
    if missing or unexpected:
        raise _failure(
            folder, f"{WEIGHTS_NAME}: missing keys {missing}, unexpected keys {unexpected}"
        )
    model.eval()
    return model


def _read_config(folder: Path) -> DHMMGPT2Config:
    try:
        fields = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _failure(folder, f"{CONFIG_NAME} is missing") from None
    except ValueError as error:
        raise _failure(folder, f"{CONFIG_NAME} is not JSON ({error})") from error
    model_type = fields.get("model_type") if isinstance(fields, dict) else None
    if model_type != DHMMGPT2Config.model_type:
        raise _failure(
            folder,
            f"{CONFIG_NAME} has model_type {model_type!r}, expected {DHMMGPT2Config.model_type!r}",
        )
    try:
        config: DHMMGPT2Config = DHMMGPT2Config.from_dict(fields)
    except (TypeError, ValueError) as error:
        raise _failure(folder, f"{CONFIG_NAME}: {error}") from error
    return config


def _read_weights(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise _failure(folder, f"{WEIGHTS_NAME} is missing")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _failure(folder, f"{WEIGHTS_NAME} is damaged ({error})") from error


def _failure(folder: Path, reason: str) -> ValueError:
    return ValueError(f"cannot load DHMM-GPT2 from {folder}: {reason}")
