"""Causal language models with their tokenizers: from a name or folder, to a folder, by message.

`from_pretrained` fills missing weights with random numbers, warns where it should stop, and reports
a missing network as a missing file. Here every doubt is an error that says what to do.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

import parley.policies.dhmm_gpt2  # noqa: F401  (registers its model type with transformers)
from parley.policies.dialogue.speaker import context_of

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_WEIGHTS_INDEX = "pytorch_model.bin.index.json"
REFUSED = "UnpicklingError"
"""What torch raises for a file that holds more than tensors."""
_TOKENIZER = ("tokenizer.json", "vocab.json", "tokenizer.model", "tokenizer_config.json")


@dataclass(frozen=True)
class LanguageModel:
    """A model that is ready to speak.

    Attributes:
        model: in evaluation mode.
        tokenizer: fits the model: all its ids are below the model's vocabulary.
        end_token: closes every turn.
        context: the longest sequence in tokens.
        source: the name or folder that it came from.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    end_token: int
    context: int
    source: str


class ModelAndTokenizer(Protocol):
    """What can be saved."""

    @property
    def model(self) -> PreTrainedModel:
        """The model."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        ...


@dataclass(frozen=True)
class ModelParts:
    """A model as a message, for a process that shares no files.

    Attributes:
        config: the architecture as JSON-like data.
        state: the weights by name, tied ones once.
    """

    config: dict[str, Any]
    state: dict[str, Tensor]


def load_language_model(
    source: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> LanguageModel:
    """A causal language model and its tokenizer, from a local folder or by a Hugging Face name.

    Args:
        source: a folder that exists, or a name such as `microsoft/DialoGPT-small`, which is looked
            for in the local cache and, where the network allows, on the Hub.
        device: where the model goes.
        dtype: of its weights; float32 by default.

    Raises:
        ValueError: there is no such model, a file is missing or damaged, weights are missing or
            of another model, or the tokenizer does not fit. The message says what to do.
    """
    name = str(source)
    folder = Path(source)
    if folder.is_dir():
        _require_files(folder)
    elif folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ValueError(
            f"cannot load a language model from {name}: there is no such folder; name a folder "
            "that holds config.json, model.safetensors and tokenizer.json, or a model on the "
            "Hugging Face Hub"
        )
    with _quiet():
        model = _load_model(name, folder.is_dir(), dtype or torch.float32)
        tokenizer = _load_tokenizer(name, folder.is_dir())
    end_token = _check_tokenizer(
        name, tokenizer, int(model.get_output_embeddings().weight.shape[0])
    )
    model.to(device)  # type: ignore[arg-type]
    model.eval()
    return LanguageModel(model, tokenizer, end_token, context_of(model), name)


def save_language_model(language_model: ModelAndTokenizer, folder: str | Path) -> None:
    """Write a model and its tokenizer so that `load_language_model` reads them."""
    with _quiet():
        language_model.model.save_pretrained(folder)
        language_model.tokenizer.save_pretrained(folder)


def take_apart(model: PreTrainedModel) -> ModelParts:
    """A model's architecture and a copy of its weights on the CPU."""
    config = json.loads(model.config.to_json_string(use_diff=False))
    tied = set(model.all_tied_weights_keys)
    state = {
        name: tensor.detach().cpu().clone()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    return ModelParts(config, state)


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
    settings = dict(config)
    model_type = settings.pop("model_type", None)
    try:
        with _quiet():
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"cannot build a language model of type {model_type!r}: {error}; the configuration "
            "must be that of a causal language model of transformers"
        ) from error
    if state is not None:
        _load_state(model, state)
    model.eval()
    return model


def _load_state(model: PreTrainedModel, state: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    missing = sorted(set(own) - set(state) - set(model.all_tied_weights_keys))
    unexpected = sorted(set(state) - set(own))
    misshapen = sorted(k for k in set(own) & set(state) if own[k].shape != state[k].shape)
    if missing or unexpected or misshapen:
        raise ValueError(
            f"these weights are of another model: missing {_some(missing)}, of another shape "
            f"{_some(misshapen)}, unexpected {_some(unexpected)}"
        )
    model.load_state_dict(dict(state), strict=False)


def _require_files(folder: Path) -> None:
    """Name what a folder lacks, before transformers looks for it on the network."""
    if not (folder / "config.json").is_file():
        raise _failure(
            folder,
            "config.json is missing",
            "name the folder that a model was saved to (save_pretrained writes it)",
        )
    weights = [*_WEIGHTS, _WEIGHTS_INDEX]
    if not any((folder / file).is_file() for file in weights):
        raise _failure(
            folder,
            f"there are no weights (none of {', '.join(weights)})",
            "copy them there, or name another folder",
        )
    if not any((folder / file).is_file() for file in _TOKENIZER):
        raise _failure(
            folder,
            f"there is no tokenizer (none of {', '.join(_TOKENIZER)})",
            "save the tokenizer that the model was trained with into the same folder",
        )


def _load_model(name: str, is_local: bool, dtype: torch.dtype) -> PreTrainedModel:
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            local_files_only=is_local,
            trust_remote_code=False,  # unless told, transformers asks on the terminal
            weights_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below with their names
        )
    except (SafetensorError, EOFError, RuntimeError) as error:
        raise _failure(
            name,
            f"its weights cannot be read ({_first_line(error)})",
            "the file is truncated or damaged: copy or download it again",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _explain(name, is_local, error) from error
    except Exception as error:
        if type(error).__name__ != REFUSED:
            raise
        raise _failure(
            name,
            "pytorch_model.bin holds more than tensors, which would run code when it is read",
            "convert it to model.safetensors where you trust its source",
        ) from error
    model: PreTrainedModel = loaded[0]
    report: dict[str, Any] = loaded[1]
    missing = sorted(set(report["missing_keys"]) - set(model.all_tied_weights_keys))
    mismatched = sorted(str(key[0]) for key in report["mismatched_keys"])
    # Heads of other tasks may lie beside a language model, layers that it does not have may not.
    prefix = f"{model.base_model_prefix}."
    unexpected = sorted(
        key
        for key in report["unexpected_keys"]
        if key.startswith(prefix) and key.endswith(".weight")
    )
    if missing or mismatched or unexpected:
        raise _failure(
            name,
            f"its weights are of another model: missing {_some(missing)}, of another shape "
            f"{_some(mismatched)}, unexpected {_some(unexpected)}",
            "config.json and weights must come from the same model",
        )
    return model


def _explain(name: str, is_local: bool, error: Exception) -> ValueError:
    if is_local:
        return _failure(
            name,
            _first_line(error),
            "its config.json must be that of a causal language model of transformers "
            f"{transformers.__version__}",
        )
    return ValueError(
        f"cannot load the language model {name!r}: there is no folder of this name here, it is not "
        f"in the local Hugging Face cache, and the Hub has no such causal language model or cannot "
        f"be reached ({_first_line(error)}); check the name, download it where there is a network, "
        "or name a local folder"
    )


def _load_tokenizer(name: str, is_local: bool) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name, local_files_only=is_local, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers library raises bare Exception on damaged files
        raise _failure(
            name,
            f"its tokenizer cannot be read ({_first_line(error)})",
            "save the tokenizer that the model was trained with into the same folder",
        ) from error
    return tokenizer


def _check_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> int:
    """The end token of a tokenizer that fits a model of `vocab_size` tokens."""
    remedy = "use the tokenizer that the model was trained with"
    end_token = tokenizer.eos_token_id
    if not isinstance(end_token, int):
        raise _failure(
            name,
            "its tokenizer has no end-of-text token, which closes every turn",
            "set eos_token in tokenizer_config.json",
        )
    if len(tokenizer) == 0 or end_token >= len(tokenizer):
        raise _failure(name, f"its tokenizer holds {len(tokenizer)} tokens only", remedy)
    highest = max(tokenizer.get_vocab().values())
    if max(highest, end_token) >= vocab_size:
        raise _failure(
            name,
            f"its tokenizer does not fit: it has ids up to {max(highest, end_token)} (end of text: "
            f"{end_token}), the model's vocabulary ends at {vocab_size - 1}",
            remedy,
        )
    return end_token


def _failure(source: str | Path, reason: str, remedy: str) -> ValueError:
    return ValueError(f"cannot load a language model from {source}: {reason}; {remedy}")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


def _some(names: list[str], limit: int = 3) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and warnings of transformers; what matters is checked and raised."""
    level = transformers_logging.get_verbosity()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    hub.setLevel(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        hub.setLevel(hub_level)
        if had_bars:
            transformers_logging.enable_progress_bar()
