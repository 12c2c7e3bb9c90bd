"""What a language model learns from and is measured on: loaded or generated, split, encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from parley.envs.dialogue.conversation_files import describe_reading, load_conversations
from parley.envs.dialogue.conversations import (
    Conversation,
    Split,
    number_conversations,
    split_conversations,
)
from parley.envs.dialogue.smalltalk import generate_dialogues
from parley.platform.errors import InputError
from parley.platform.language.dialogue_tokens import TokenDialogues, encode_dialogues
from parley.platform.language.settings import DialogueDataConfig, LanguageModelConfig
from parley.platform.language.text_ids import SpeltTokens
from parley.platform.language.tokenizer import train_tokenizer


class DialogueDataError(InputError):
    """Dialogues that cannot be learned from."""


@dataclass(frozen=True)
class LanguageData:
    """Three parts of a corpus as tokens; the tokenizer knows the training part only."""

    tokenizer: PreTrainedTokenizerFast
    training: TokenDialogues
    selection: TokenDialogues
    heldout: TokenDialogues
    fingerprint: str
    """Of the text of all three parts: a run is not resumed on other data."""
    openers: list[str]
    """The first turns of the selection part."""
    remarks: list[str]
    """What was changed in the texts on their way to tokens, a line each."""


def load_split(config: DialogueDataConfig, seed: int) -> Split:
    """The conversations of `data.path`, or generated ones, in three parts.

    Raises:
        DialogueDataError: the data cannot be read or split; the message says what to do.
    """
    try:
        if config.path:
            conversations = load_conversations(Path(config.path))
        else:
            conversations = number_conversations(generate_dialogues(config.num_dialogues, seed))
        return split_conversations(conversations, config.holdout, config.selection)
    except ValueError as error:
        raise DialogueDataError(f"data.path: {error}" if config.path else str(error)) from error


def encode_split(
    split: Split, model: LanguageModelConfig, tokenizer: PreTrainedTokenizerFast | None = None
) -> LanguageData:
    """The parts as tokens of `tokenizer`, or of one that is trained on the training part."""
    if tokenizer is None:
        messages = (message for talk in split.training for message in talk.messages)
        tokenizer = train_tokenizer(messages, model.vocab_size, model.context)
    parts = (split.training, split.selection, split.heldout)
    training, selection, heldout = (
        encode_dialogues([talk.messages for talk in part], tokenizer) for part in parts
    )
    openers = [talk.messages[0] for talk in split.selection]
    return LanguageData(
        tokenizer,
        training,
        selection,
        heldout,
        _fingerprint(parts),
        openers,
        _list_remarks(parts, (training, selection, heldout)),
    )


def _list_remarks(
    parts: Sequence[Sequence[Conversation]], encoded: Sequence[TokenDialogues]
) -> list[str]:
    found = [describe_reading([talk for part in parts for talk in part])]
    spelt = SpeltTokens(
        sum(part.spelt.marks for part in encoded), sum(part.spelt.letters for part in encoded)
    )
    found.append(spelt.describe("turns"))
    return [remark for remark in found if remark]


def _fingerprint(parts: Sequence[Sequence[Conversation]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for talk in part:
            digest.update("\n".join([talk.id, *talk.messages, ""]).encode())
    return digest.hexdigest()[:16]
