"""Tiny language models with a tokenizer of bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from parley.policies.dialogue.loading import LanguageModel, save_language_model

END_TEXT = "<|endoftext|>"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and the end of text."""
    alphabet = [END_TEXT, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocab = {token: place for place, token in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_TEXT)


def make_gpt2(**settings: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 257, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 48}
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**{**sizes, **ids, **settings})).eval()


def make_llama(**settings: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 257,
        "hidden_size": 16,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 48,
    }
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **settings})).eval()


def save(model: PreTrainedModel, folder: Path) -> None:
    save_language_model(LanguageModel(model, make_tokenizer(), 0, 48, "here"), folder)
