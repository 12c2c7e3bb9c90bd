"""From a model's name in the settings to a folder or name that a loader understands."""

from __future__ import annotations

from collections.abc import Callable

from huggingface_hub import try_to_load_from_cache

from parley.platform.models.embedded import EMBEDDED_NAME, EmbeddedRecipe, embedded_model

AUTO_NAME = "auto"
PREFERRED_MODEL = "microsoft/DialoGPT-small"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def resolve_model(
    name: str, log: Callable[[str], None], recipe: EmbeddedRecipe | None = None
) -> str:
    """What a loader should load for `name`; the network is never asked.

    Args:
        name: `parley-tiny`, which is built on first use; `auto`, which is DialoGPT-small where its
            weights lie in the local Hugging Face cache and parley-tiny otherwise; anything else is
            a folder or a Hugging Face name and returned as it is.
        log: is told in one line where `auto` falls back.
        recipe: of the embedded model.

    Raises:
        CacheError: the embedded model has to be built and the cache cannot be written.
    """
    if name == AUTO_NAME:
        if is_downloaded(PREFERRED_MODEL):
            return PREFERRED_MODEL
        log(f"{PREFERRED_MODEL} is not in the local Hugging Face cache; using {EMBEDDED_NAME}")
        name = EMBEDDED_NAME
    if name == EMBEDDED_NAME:
        return str(embedded_model(recipe))
    return name


def is_downloaded(name: str) -> bool:
    """Whether the local Hugging Face cache holds a model's configuration and weights."""
    held = [isinstance(try_to_load_from_cache(name, file), str) for file in WEIGHT_FILES]
    return any(held) and isinstance(try_to_load_from_cache(name, "config.json"), str)
