"""Folders that hold an adapter (PEFT) in place of a model: the model with the adapter in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from parley.policies.dialogue.pretrained import (
    ADAPTER_FILE,
    WeightsError,
    find_adapter,
    first_line,
    some,
)
from parley.policies.dialogue.probing import are_same, evaluating, probe_tokens

_BASE = "base_model_name_or_path"
_MERGED = 1e-3
"""Of logits, relative to their size: how far merging may move them."""


def find_lone_adapter(source: str) -> Path | None:
    """The folder of an adapter without a whole model; None where `source` is no such thing."""
    folder = find_adapter(source)
    return None if folder is None or (folder / "config.json").is_file() else folder


def find_base(folder: Path) -> str:
    """The model that an adapter changes: a folder next to it or from here, or a Hugging Face name.

    Raises:
        WeightsError: the adapter does not name one.
    """
    try:
        name = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))[_BASE]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{ADAPTER_FILE} does not name the model that it changes ({_BASE}: {error!r})",
            f"set {_BASE} to that model's folder or name",
        ) from error
    # Beside the adapter first: that does not depend on where one stands.
    places = (folder / str(name), folder.parent / str(name), Path(str(name)))
    base = next((str(place) for place in places if place.is_dir()), str(name))
    if find_lone_adapter(base) is not None:
        raise WeightsError(
            f"{ADAPTER_FILE} names another adapter ({base}) as the model that it changes",
            f"set {_BASE} to a whole model's folder or name",
        )
    return base


def merge_adapter(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """`base`, which is changed, with an adapter in its weights.

    Raises:
        WeightsError: the adapter is of a kind that cannot be merged, damaged, or of another model.
    """
    import peft  # only where it is asked for: it takes a second to load

    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        config.base_model_name_or_path = base.name_or_path  # wherever it was found
        adapted: Any = peft.get_peft_model(base, config)
        weights = peft.load_peft_weights(str(folder), device="cpu")
        report: Any = peft.set_peft_model_state_dict(adapted, weights)
    except Exception as error:
        raise WeightsError(
            f"its adapter cannot be put into {type(base).__name__} ({first_line(error)})",
            f"check {_BASE} in its {ADAPTER_FILE}, or copy the adapter again",
        ) from error
    prefix = str(getattr(adapted.base_model, "prefix", ""))
    missing = sorted(key for key in report.missing_keys if prefix and prefix in key)
    if missing or report.unexpected_keys:
        raise WeightsError(
            f"its adapter is of another model: missing {some(missing)}, unexpected "
            f"{some(sorted(report.unexpected_keys))}",
            f"check {_BASE} in its {ADAPTER_FILE}",
        )
    merge = getattr(adapted, "merge_and_unload", None)
    if not prefix or merge is None:
        raise WeightsError(
            f"an adapter of the kind {config.peft_type} cannot be merged into the weights",
            "name a whole model, or an adapter of low rank (LoRA)",
        )
    tokens = probe_tokens(base, 5)[None]
    with torch.no_grad(), evaluating(adapted):
        expected = adapted(input_ids=tokens).logits
        merged: PreTrainedModel = merge()
        found = merged(input_ids=tokens).logits
    if not are_same(found, expected, _MERGED):
        raise WeightsError(
            "merging its adapter changes what the model says, as where an adapter sits on one of "
            "two weights that are tied",
            "name a whole model",
        )
    vars(merged).pop("peft_config", None)
    return merged.requires_grad_(True)
