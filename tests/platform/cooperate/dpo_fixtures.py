"""What the tests of DPO share: tiny models of three kinds, pairs that share prompts, settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from parley.platform.cooperate.dpo.token_pairs import TokenPairs, TokenRows
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.language.tokenizer import train_tokenizer

CPU = torch.device("cpu")
VOCAB = 300


def make_model(kind: str) -> PreTrainedModel:
    """A `gpt2`, `llama` or `neox` with two layers and strong opinions."""
    torch.manual_seed(1)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=VOCAB,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
        )
        model: PreTrainedModel = GPT2LMHeadModel(config)
    elif kind == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
            )
        )  # fmt: skip
    else:
        model = GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=4, max_position_embeddings=64,
            )
        )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_pairs(num_pairs: int = 12) -> TokenPairs:
    """Pairs of few prompts, some of which share the chosen response too."""
    random = np.random.default_rng(0)

    def draw(low: int, high: int) -> list[int]:
        return random.integers(1, VOCAB, random.integers(low, high)).tolist()

    prompts = [draw(3, 20) for _ in range(5)]
    chosen = [[*draw(1, 12), 0] for _ in range(5)]
    numbers = [n % 5 for n in range(num_pairs)]
    return TokenPairs(
        TokenRows.join([prompts[n] for n in numbers]),
        TokenRows.join([chosen[n] if n else [*draw(1, 9), 0] for n in numbers]),
        TokenRows.join([[*draw(1, 12), 0] for _ in numbers]),
        tuple(f"pair-{n}" for n in range(num_pairs)),
        0,
        "test",
    )


def make_config(**dpo: Any) -> DialogueDPOConfig:
    """Settings of `[dpo]`, and of the adapters: `rank`, `dropout`."""
    settings = {
        "batch_size": 12,
        "warmup_steps": 0,
        "num_epochs": 1,
        "learning_rate": 1e-3,
        "chosen_nll_weight": 0.0,
    }
    lora = {name: dpo.pop(name) for name in ("rank", "dropout") if name in dpo}
    return DialogueDPOConfig.model_validate({"dpo": settings | dpo, "lora": lora})


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One for as many tokens as the models have."""
    return train_tokenizer(["a few words to begin with"], VOCAB, 64)
