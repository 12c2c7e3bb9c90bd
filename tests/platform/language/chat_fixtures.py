"""A tiny model that talks in bytes."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from parley.policies.dialogue.loading import LanguageModel
from tests.policies.dialogue.model_fixtures import make_tokenizer

CONTEXT = 64


def make_model(seed: int) -> LanguageModel:
    """A tiny model whose replies are spread over the vocabulary."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=257,
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.5,
    )
    return LanguageModel(GPT2LMHeadModel(config).eval(), make_tokenizer(), 0, CONTEXT, "here")
