"""Byte-level BPE tokenizers as DialoGPT's: any text can be written, one token ends a turn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
"""Follows every turn; stands for beginning, end and unknown text alike, as in GPT-2."""
MIN_VOCAB_SIZE = 257
"""The bytes and the end-of-text token."""


def train_tokenizer(
    messages: Iterable[str], vocab_size: int, context: int
) -> PreTrainedTokenizerFast:
    """A tokenizer with merges learned from `messages` (Sennrich et al. 2016, arXiv:1508.07909).

    Args:
        messages: turns of dialogues; each is encoded by itself, without a leading space.
        vocab_size: at most so many tokens; fewer where the text offers fewer merges.
        context: `model_max_length` of the tokenizer, in tokens.

    Raises:
        ValueError: the vocabulary cannot hold all bytes.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        raise ValueError(
            f"vocab_size must be at least {MIN_VOCAB_SIZE} (256 bytes and {END_OF_TEXT}), "
            f"got {vocab_size}"
        )
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(messages, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def end_token_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that ends a turn.

    Raises:
        ValueError: the tokenizer has none.
    """
    token = tokenizer.eos_token_id
    if not isinstance(token, int):
        raise ValueError("the tokenizer has no eos_token, which must end every turn; set one")
    return token


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that lies in `folder`, exactly as it was saved."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer
