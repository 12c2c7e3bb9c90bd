"""Causal language models with their tokenizers: from a name or folder, and to a folder.

`from_pretrained` warns where it should stop, and reports a missing network as a missing file. Here
every doubt is an error that says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import parley.policies.dhmm_gpt2  # noqa: F401  (registers its model type with transformers)
from parley.policies.dialogue.adapters import find_base, find_lone_adapter, merge_adapter
from parley.policies.dialogue.parts import check_travels
from parley.policies.dialogue.pretrained import (
    WeightsError,
    first_line,
    load_pretrained,
    quiet_transformers,
)
from parley.policies.dialogue.probing import context_of
from parley.policies.dialogue.reader_choice import check_speaker

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_WEIGHTS_INDEX = "pytorch_model.bin.index.json"
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


def load_language_model(
    source: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> LanguageModel:
    """A causal language model and its tokenizer, from a local folder or by a Hugging Face name.

    Args:
        source: a folder that exists, or a name such as `microsoft/DialoGPT-small`, which is looked
            for in the local cache and, where the network allows, on the Hub. The folder of an
            adapter (PEFT) means the model that it names, with the adapter merged in.
        device: where the model goes.
        dtype: of its weights; float32 by default.

    Raises:
        ValueError: there is no such model, a file is missing or damaged, weights are missing or
            of another model, the model cannot speak, or the tokenizer does not fit. The message
            says what to do.
    """
    name = str(source)
    folder = Path(source)
    adapter = find_lone_adapter(name)
    if adapter is None and folder.is_dir():
        _require_files(folder)
    elif not folder.is_dir() and (
        folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    ):
        raise ValueError(
            f"cannot load a language model from {name}: there is no such folder; name a folder "
            "that holds config.json, model.safetensors and tokenizer.json, or a model on the "
            "Hugging Face Hub"
        )
    with quiet_transformers():
        if adapter is None:
            model = _load_model(name, folder.is_dir(), dtype or torch.float32)
            tokenizer = _load_tokenizer(name, folder.is_dir())
        else:
            model, tokenizer = _load_adapted(name, adapter, dtype)
    end_token = _check_tokenizer(name, tokenizer, _check_model(name, model))
    model.to(device)  # type: ignore[arg-type]
    return LanguageModel(model, tokenizer, end_token, context_of(model), name)


def save_language_model(language_model: ModelAndTokenizer, folder: str | Path) -> None:
    """Write a model and its tokenizer so that `load_language_model` reads them."""
    with quiet_transformers():
        language_model.model.save_pretrained(folder)
        language_model.tokenizer.save_pretrained(folder)


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
        model: PreTrainedModel = load_pretrained(
            AutoModelForCausalLM, name, dtype=dtype, local_files_only=is_local
        )
    except WeightsError as error:
        raise _failure(name, error.reason, error.remedy) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _explain(name, is_local, error) from error
    return model


def _load_adapted(
    name: str, adapter: Path, dtype: torch.dtype | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that an adapter names with the adapter in it, and the tokenizer of either."""
    try:
        base = find_base(adapter)
        try:
            loaded = load_language_model(base, dtype=dtype)
        except ValueError as error:
            raise _failure(
                name,
                f"the model {base} that its adapter changes cannot be loaded ({error})",
                "set base_model_name_or_path in its adapter_config.json to that model's folder",
            ) from error
        model = merge_adapter(loaded.model, adapter)
    except WeightsError as error:
        raise _failure(name, error.reason, error.remedy) from error
    if not any((adapter / file).is_file() for file in _TOKENIZER):
        return model, loaded.tokenizer
    return model, _load_tokenizer(str(adapter), True)


def _check_model(name: str, model: PreTrainedModel) -> int:
    """See that a model, which is put into evaluation mode, can speak and travel; its vocabulary."""
    model.eval()
    try:
        check_speaker(model)
        check_travels(model)
    except ValueError as error:
        raise ValueError(f"cannot use the language model {name}: {error}") from error
    return int(model.get_output_embeddings().weight.shape[0])


def _explain(name: str, is_local: bool, error: Exception) -> ValueError:
    if is_local:
        return _failure(
            name,
            first_line(error),
            "its config.json must be that of a causal language model of transformers "
            f"{transformers.__version__}",
        )
    return ValueError(
        f"cannot load the language model {name!r}: there is no folder of this name here, it is not "
        f"in the local Hugging Face cache, and the Hub has no such causal language model or cannot "
        f"be reached ({first_line(error)}); check the name, download it where there is a network, "
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
            f"its tokenizer cannot be read ({first_line(error)})",
            "save the tokenizer that the model was trained with into the same folder",
        ) from error
    return tokenizer


def _check_tokenizer(name: str, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> int:
    """The end token of a tokenizer that fits a model of `vocab_size` tokens."""
    remedy = "use the tokenizer that the model was trained with"
    if not tokenizer.is_fast:
        raise _failure(
            name,
            f"its tokenizer ({type(tokenizer).__name__}) runs in Python alone, and texts are "
            "encoded by the tokenizers library",
            "save it as a tokenizer.json (PreTrainedTokenizerFast.save_pretrained) into the same "
            "folder, or choose a model that has one",
        )
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
