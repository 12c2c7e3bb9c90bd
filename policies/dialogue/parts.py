"""A language model as a message: its architecture as plain data, and its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from parley.policies.dialogue.pretrained import quiet_transformers, some


@dataclass(frozen=True)
class ModelParts:
    """A model as a message, for a process that shares no files.

    Attributes:
        config: the architecture as data that Python's JSON can hold.
        state: the weights by name, tied ones once.
    """

    config: dict[str, Any]
    state: dict[str, Tensor]


def take_apart(model: PreTrainedModel) -> ModelParts:
    """A model's architecture and a copy of its weights on the CPU."""
    tied = set(model.all_tied_weights_keys)
    state = {
        name: tensor.detach().cpu().clone()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    return ModelParts(_describe(model.config), state)


def build_from_parts(
    config: Mapping[str, Any], state: Mapping[str, Tensor] | None = None
) -> PreTrainedModel:
    """A causal language model in evaluation mode from its architecture and, if given, weights.

    Args:
        config: `ModelParts.config`.
        state: `ModelParts.state`; without it the weights are random.

    Raises:
        ValueError: an unknown architecture, or weights that are missing, unexpected or of another
            shape.
    """
    model_type = config.get("model_type")
    try:
        with quiet_transformers():
            model = AutoModelForCausalLM.from_config(_rebuild(config))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"cannot build a language model of type {model_type!r}: {error}; the configuration "
            "must be that of a causal language model of transformers"
        ) from error
    if state is not None:
        _load_state(model, state)
    model.eval()
    return model


def check_travels(model: PreTrainedModel) -> None:
    """See that the architecture comes out of a message as it went in.

    Raises:
        ValueError: it does not; the message names the settings.
    """
    sent = _describe(model.config)
    try:
        with quiet_transformers():
            received = _describe(_rebuild(json.loads(json.dumps(sent))))
    except Exception as error:
        raise ValueError(
            f"the configuration of {type(model).__name__} cannot be built again from its own JSON "
            f"({error}), which brings it to other processes and into checkpoints; choose another "
            f"model"
        ) from error
    changed = sorted(key for key in sent | received if sent.get(key) != received.get(key))
    if changed:
        raise ValueError(
            f"the configuration of {type(model).__name__} does not come out of its own JSON as it "
            f"went in ({some(changed)}), which brings it to other processes and into checkpoints; "
            f"correct these settings in its config.json, or choose another model"
        )


def _describe(config: PretrainedConfig) -> dict[str, Any]:
    """Python's JSON knows infinity; transformers' files spell it in a way that `from_dict` reads as
    something else."""
    described: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return described


def _rebuild(config: Mapping[str, Any]) -> PretrainedConfig:
    rebuilt: PretrainedConfig = CONFIG_MAPPING[str(config.get("model_type"))].from_dict(
        dict(config)
    )
    return rebuilt


def _load_state(model: PreTrainedModel, state: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    missing = sorted(set(own) - set(state) - set(model.all_tied_weights_keys))
    unexpected = sorted(set(state) - set(own))
    misshapen = sorted(k for k in set(own) & set(state) if own[k].shape != state[k].shape)
    if missing or unexpected or misshapen:
        raise ValueError(
            f"these weights are of another model: missing {some(missing)}, of another shape "
            f"{some(misshapen)}, unexpected {some(unexpected)}"
        )
    model.load_state_dict(dict(state), strict=False)
