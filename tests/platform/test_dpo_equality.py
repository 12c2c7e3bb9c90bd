"""Loss and gradients of the adapter equal those of TRL's own trainer on the same batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from trl import DPOConfig, DPOTrainer

from parley.platform.config.dpo import DialogueDPOConfig, LoraConfig
from parley.platform.learners.dpo_data import TokenPairs, TokenRows
from parley.platform.learners.dpo_loader import collate
from parley.platform.learners.dpo_scoring import reference_log_probs
from parley.platform.learners.dpo_trainer import build_trainer, make_adapters
from parley.platform.models.tokenizer import train_tokenizer

CPU = torch.device("cpu")
VOCAB = 300


def make_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(1)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=2, n_head=2)
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


def make_config(num_pairs: int, **dpo: Any) -> DialogueDPOConfig:
    settings = {"batch_size": num_pairs, "warmup_steps": 0, "num_epochs": 1, "learning_rate": 1e-3}
    lora = {"rank": dpo.pop("rank", 0)}
    return DialogueDPOConfig.model_validate({"dpo": settings | dpo, "lora": lora})


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(["a few words to begin with"], 300, 64)


def stock_trainer(
    model: nn.Module,
    tokenizer: Any,
    pairs: TokenPairs,
    folder: Path,
    adapters: Any,
    **settings: Any,
) -> DPOTrainer:
    rows = {
        "prompt": ["?"] * len(pairs),
        "prompt_ids": [pairs.prompts[n].tolist() for n in range(len(pairs))],
        "chosen_ids": [pairs.chosen[n].tolist() for n in range(len(pairs))],
        "rejected_ids": [pairs.rejected[n].tolist() for n in range(len(pairs))],
    }

    class Prepared(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    arguments = DPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", max_length=None,
        activation_checkpointing=False, precompute_ref_log_probs=True,
        per_device_train_batch_size=5, per_device_eval_batch_size=5, **settings,
    )  # fmt: skip
    return Prepared(
        model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=tokenizer,
        peft_config=adapters,
    )


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("kind", ["gpt2", "llama", "neox"])
@pytest.mark.parametrize(
    ("loss", "rank"),
    [("sigmoid", 0), ("sft", 0), ("ipo", 0), ("smooth", 0), ("sigmoid", 4)],
)
def test_loss_and_gradients_equal_those_of_trl(
    kind: str, loss: str, rank: int, tokenizer: Any, tmp_path: Path
) -> None:
    pairs = make_pairs()
    reference, policy = make_model(kind), make_model(kind)
    pairs = pairs.with_reference(reference_log_probs(reference, pairs))
    extra: dict[str, Any] = {"rank": rank}
    if loss == "sft":
        extra["chosen_nll_weight"] = 0.3
    elif loss == "smooth":
        extra["label_smoothing"] = 0.1
    own = build_trainer(policy, tokenizer, pairs, make_config(len(pairs), beta=0.3, **extra), CPU)
    if loss == "ipo":
        own.loss_types = ["ipo"]
    with torch.no_grad():
        for parameter in own.model.parameters():
            # A fresh adapter changes nothing; the policy must differ from the reference.
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    settings: dict[str, Any] = {"beta": 0.3}
    if loss == "sft":
        settings |= {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]}
    elif loss == "ipo":
        settings |= {"loss_type": ["ipo"]}
    elif loss == "smooth":
        settings |= {"label_smoothing": 0.1}
    adapters = make_adapters(reference, LoraConfig(rank=rank))
    stock = stock_trainer(reference, tokenizer, pairs, tmp_path, adapters, **settings)
    stock.model.load_state_dict(own.model.state_dict())
    batch = stock.data_collator([stock.train_dataset[n] for n in range(len(pairs))])
    stock.model.train()
    stock.model.zero_grad()
    expected = stock.compute_loss(stock.model, batch)
    expected.backward()
    own.model.train()
    own.model.zero_grad()
    part = {"share": 1.0, **collate(pairs, np.arange(len(pairs)), own.forward.shares_prompts)}
    found = own.compute_loss(own.model, part)
    found.backward()
    assert own.forward.plan == (True, True)
    assert found.item() == pytest.approx(expected.item(), rel=2e-6, abs=1e-6)
    own_gradients, stock_gradients = gradients(own.model), gradients(stock.model)
    assert own_gradients and own_gradients.keys() == stock_gradients.keys()
    for name, gradient in own_gradients.items():
        torch.testing.assert_close(gradient, stock_gradients[name], rtol=0.0, atol=2e-6, msg=name)
    for key, values in stock._metrics["train"].items():
        if key != "num_tokens":
            assert own._metrics["train"][key] == pytest.approx(values, abs=1e-5), key
