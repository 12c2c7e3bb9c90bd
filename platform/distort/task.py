"""A dialogue experiment made concrete: which models talk, by which rules, from which openers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from parley.envs.dialogue.openers import load_openers, split_openers
from parley.envs.dialogue.rules import Dialogue, DialogueSettings
from parley.platform.distort.settings import DialogueConfig, DialogueDistortConfig, SamplingConfig
from parley.platform.errors import InputError
from parley.platform.language.resolving import model_inside, resolve_model
from parley.platform.language.text_ids import TextEncoder, beginning_of
from parley.policies.dialogue.loading import LanguageModel, load_language_model
from parley.policies.dialogue.sampling import Sampling

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class DialogueTask:
    """What the processes of a run share."""

    models: Mapping[str, LanguageModel]
    """Seat -> its model at the start; seats with one source share it."""
    settings: DialogueSettings
    sampling: Sampling
    train_openers: list[Tokens]
    heldout_openers: list[Tokens]
    beginning: tuple[int, ...] = ()
    """Ids that every model reads before a history; no part of the dialogue."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of all seats."""
        return next(iter(self.models.values())).tokenizer


def make_dialogue_task(
    config: DialogueDistortConfig,
    log: Callable[[str], None],
    sources: Mapping[str, str] | None = None,
) -> DialogueTask:
    """Find and load the models, fix the rules, encode the openers.

    Args:
        config: the experiment.
        log: told which model stands in where weights cannot be had.
        sources: seat -> folder or name to load instead of the configured one.

    Raises:
        InputError: a model cannot be loaded, the seats' models do not share a tokenizer, or an
            opener, the window and the models' context do not fit together.
    """
    names = {seat: (sources or {}).get(seat, entry.model) for seat, entry in config.seats.items()}
    try:
        models = _load_models(names, log)
        _check_shared_tokenizer(models)
        settings = _make_settings(config.dialogue, models)
        train, heldout = _split_openers(config.dialogue)
        encoder = TextEncoder(next(iter(models.values())).tokenizer)
        return DialogueTask(
            models=models,
            settings=settings,
            sampling=make_sampling(config.sampling, config.dialogue.max_reply_tokens),
            train_openers=[_encode(text, encoder, settings) for text in train],
            heldout_openers=[_encode(text, encoder, settings) for text in heldout],
            beginning=encoder.beginning,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def make_sampling(config: SamplingConfig, max_reply_tokens: int) -> Sampling:
    """The sampler's settings."""
    return Sampling(
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        max_reply_tokens=max_reply_tokens,
    )


def _load_models(names: Mapping[str, str], log: Callable[[str], None]) -> dict[str, LanguageModel]:
    """Each source is resolved and loaded once."""
    sources = {
        name: resolve_model(model_inside(name), log) for name in dict.fromkeys(names.values())
    }
    loaded = {source: load_language_model(source) for source in set(sources.values())}
    return {seat: loaded[sources[name]] for seat, name in names.items()}


def _check_shared_tokenizer(models: Mapping[str, LanguageModel]) -> None:
    (first, reference), *others = models.items()
    for seat, model in others:
        same = (
            model.end_token == reference.end_token
            and beginning_of(model.tokenizer) == beginning_of(reference.tokenizer)
            and model.tokenizer.get_vocab() == reference.tokenizer.get_vocab()
        )
        if not same:
            raise ValueError(
                f"seats {first!r} ({reference.source}) and {seat!r} ({model.source}) have "
                f"different tokenizers: exact token ids go from one to the other, so give them "
                f"models of one family, such as seats.{seat}.model={reference.source}"
            )


def _make_settings(
    dialogue: DialogueConfig, models: Mapping[str, LanguageModel]
) -> DialogueSettings:
    seat, smallest = min(models.items(), key=lambda item: item[1].context)
    # A reply at its limit is read with the end token that the rules put behind it.
    taken = dialogue.max_reply_tokens + 1 + len(beginning_of(smallest.tokenizer))
    room = smallest.context - taken
    window = dialogue.window or room
    if window > room or room < 1:
        raise ValueError(
            f"dialogue.window {dialogue.window} and dialogue.max_reply_tokens "
            f"{dialogue.max_reply_tokens} do not fit into the {smallest.context} tokens that "
            f"the model of seat {seat!r} ({smallest.source}) can read; lower one of them"
        )
    return DialogueSettings(
        seats=dialogue.order,
        max_turns=dialogue.max_turns,
        max_reply_tokens=dialogue.max_reply_tokens,
        window=window,
        end_token=smallest.end_token,
        vocab_size=min(vocab_size_of(model) for model in models.values()),
    )


def vocab_size_of(model: LanguageModel) -> int:
    """Ids that the model can read and draw."""
    return int(model.model.get_output_embeddings().weight.shape[0])


def _split_openers(dialogue: DialogueConfig) -> tuple[list[str], list[str]]:
    """The openers for training and those held out."""
    try:
        openers = load_openers(Path(dialogue.openers) if dialogue.openers else None)
    except ValueError as error:
        raise ValueError(f"dialogue.openers: {error}") from error
    try:
        return split_openers(openers, dialogue.openers_holdout)
    except ValueError as error:
        raise ValueError(f"{dialogue.openers} (dialogue.openers): {error}") from error


def _encode(text: str, encoder: TextEncoder, settings: DialogueSettings) -> Tokens:
    """The ids of an opener, checked by the rules."""
    (ids,) = encoder.encode_turns([text])
    tokens = np.array(ids, np.int32)
    try:
        Dialogue(settings, tokens)
    except ValueError as error:
        raise ValueError(f"opener {text!r} (dialogue.openers): {error}") from error
    return tokens
