"""From a model's name in the settings to a folder or name that a loader understands, and to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache

from parley.platform.errors import InputError, display_path
from parley.platform.language.embedded import (
    EMBEDDED_NAME,
    EmbeddedRecipe,
    embedded_folder,
    embedded_model,
)
from parley.platform.runs.checkpoints import POLICIES_DIR, CheckpointError, resolve_checkpoint
from parley.platform.runs.pinned_inputs import list_files
from parley.platform.runs.run_folder import CHECKPOINTS_DIR
from parley.policies.dialogue.adapters import find_base, find_lone_adapter
from parley.policies.dialogue.loading import LanguageModel, load_language_model

AUTO_NAME = "auto"
PREFERRED_MODEL = "microsoft/DialoGPT-small"
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "*.model",
)
"""What decides how a model reads and writes, besides its weights."""
SAFE_WEIGHTS, OLD_WEIGHTS = ("*.safetensors", "*.safetensors.index.json"), ("pytorch_model*",)
"""Weights; where there are some of the first kind, the second is not read."""
CHECKPOINT_MARKS = ("config.toml", "policy.json")
"""What marks a run of parley, and a checkpoint."""
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def resolve_model(
    name: str, log: Callable[[str], None], recipe: EmbeddedRecipe | None = None
) -> str:
    """What a loader should load for `name`; the network is never asked.

    Args:
        name: `parley-tiny`, which is built on first use; `auto`, which is DialoGPT-small where its
            weights lie in the local Hugging Face cache and parley-tiny otherwise; a run or
            checkpoint of parley, which means its policy; anything else is a folder or a Hugging
            Face name and returned as it is.
        log: is told in one line where `auto` falls back, before the embedded model is built for it.
        recipe: of the embedded model.

    Raises:
        CacheError: the embedded model has to be built and the cache cannot be written.
        CheckpointError: the run has no sound checkpoint, or one of several policies.
    """
    if name == AUTO_NAME:
        if is_downloaded(PREFERRED_MODEL):
            return PREFERRED_MODEL
        if not embedded_folder(recipe).exists():  # said once: from then on it is there
            log(f"{PREFERRED_MODEL} is not in the local Hugging Face cache; using {EMBEDDED_NAME}")
        name = EMBEDDED_NAME
    if name == EMBEDDED_NAME:
        return str(embedded_model(recipe))
    if any((Path(name) / file).is_file() for file in CHECKPOINT_MARKS):
        return str(_policy_folder(Path(name)))
    return name


def locate_model(name: str, log: Callable[[str], None]) -> Path | None:
    """The folder of the model that `name` means, absolute; a model of the Hub is downloaded first.

    Args:
        name: see `resolve_model`; also a folder that holds checkpoints.
        log: as there.

    Returns:
        None where the model can be had without a folder of its own.

    Raises:
        InputError: there is no such model.
    """
    try:
        source = resolve_model(model_inside(name), log)
        if not Path(source).is_dir() and _cached_folder(source) is None:
            load_language_model(source)
    except ValueError as error:
        raise InputError(str(error)) from error
    return Path(source).absolute() if Path(source).is_dir() else _cached_folder(source)


def model_inside(name: str) -> str:
    """The folder of the one model in a run or checkpoint; any other name as it is.

    Raises:
        ValueError: there are several.
    """
    path = Path(name)
    if not ((path / CHECKPOINTS_DIR).is_dir() or (path / POLICIES_DIR).is_dir()):
        return name
    folders = resolve_checkpoint(path).policy_folders
    if len(folders) > 1:
        given = ", ".join(str(folder) for folder in folders.values())
        raise ValueError(f"{name} holds several models; name the folder of one: {given}")
    return str(*folders.values())


def model_files(folder: Path) -> dict[str, Path]:
    """The files from which a model and its tokenizer are read, by their names.

    Those of the model that an adapter changes come with it, as `base/...`.

    Raises:
        ValueError: an adapter does not name its base, or that is not to be had here.
    """
    weights = list_files(folder, SAFE_WEIGHTS) or list_files(folder, OLD_WEIGHTS)
    files = {**weights, **list_files(folder, MODEL_FILES)}
    adapter = find_lone_adapter(str(folder))
    if adapter is None:
        return files
    base = Path(find_base(adapter))
    place = base if base.is_dir() else _cached_folder(str(base))
    if place is None:
        raise ValueError(f"{base}, the model that the adapter in {folder} changes, is not here")
    return files | {f"base/{name}": file for name, file in model_files(place).items()}


def _cached_folder(name: str) -> Path | None:
    """Where the local Hugging Face cache holds a model with all that is loaded of it."""
    try:
        found = try_to_load_from_cache(name, "config.json")
    except ValueError:  # no name that the Hub could have
        return None
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    has_weights = any(list_files(folder, (*SAFE_WEIGHTS, *OLD_WEIGHTS)))
    has_tokenizer = any(list_files(folder, ("tokenizer*", "vocab*", "*.model")))
    return folder if has_weights and has_tokenizer else None


def load_named_model(
    name: str, log: Callable[[str], None], device: str | torch.device = "cpu"
) -> LanguageModel:
    """The language model that a setting `model` names, see `resolve_model`.

    Raises:
        InputError: it cannot be loaded.
    """
    source = resolve_model(name, log)
    try:
        return load_language_model(source, device)
    except ValueError as error:
        raise InputError(f"model: {error}") from error


def _policy_folder(path: Path) -> Path:
    """The language model that a run or checkpoint of parley trained."""
    checkpoint = resolve_checkpoint(path)
    folders = checkpoint.policy_folders
    trained = checkpoint.read_policy_facts().get("trained")
    names = [str(trained)] if isinstance(trained, str) and trained in folders else list(folders)
    if len(names) != 1:
        raise CheckpointError(
            f"{display_path(path)} holds several policies; name one of their folders: "
            f"{', '.join(display_path(folder) for folder in folders.values())}"
        )
    return folders[names[0]]


def is_downloaded(name: str) -> bool:
    """Whether the local Hugging Face cache holds a model's configuration and weights."""
    held = [isinstance(try_to_load_from_cache(name, file), str) for file in WEIGHT_FILES]
    return any(held) and isinstance(try_to_load_from_cache(name, "config.json"), str)
