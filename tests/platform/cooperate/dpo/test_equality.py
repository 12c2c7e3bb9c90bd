"""Loss, gradients and metrics of the adapter equal those of TRL's own trainer on the same pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from parley.platform.cooperate.dpo.loader import collate
from parley.platform.cooperate.dpo.scoring import response_log_probs
from parley.platform.cooperate.dpo.setup import make_adapters
from parley.platform.cooperate.dpo.token_pairs import TokenPairs
from parley.platform.cooperate.dpo.trainer import SharedPromptDPOTrainer, build_trainer
from parley.platform.cooperate.settings import LoraConfig
from tests.platform.cooperate.dpo_fixtures import (
    CPU,
    make_config,
    make_model,
    make_pairs,
    make_tokenizer,
)

TOLERANCE = 2e-6
"""Of losses and gradients that are of the order of 1."""
BETA = 0.3
LOSSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sigmoid": ({}, {}),
    "with likelihood": (
        {"chosen_nll_weight": 0.3},
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]},
    ),
    # TRL's sigmoid loss s knows no smoothing e; its robust one is r = ((1 - e)s - es') / (1 - 2e),
    # s' being the loss of the labels the other way round. cDPO, (1 - e)s + es', is made of both.
    "smoothed": (
        {"label_smoothing": 0.1},
        {
            "label_smoothing": 0.1,
            "loss_type": ["sigmoid", "robust"],
            "loss_weights": [2 * (1 - 0.1), -(1 - 2 * 0.1)],
        },
    ),
    "adapters": ({"rank": 4}, {}),
}
"""Name -> parley's settings, TRL's."""


class PreparedDPOTrainer(DPOTrainer):
    """TRL's trainer, given token ids."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def make_stock(
    model: PreTrainedModel, pairs: TokenPairs, folder: Path, adapters: Any = None, **settings: Any
) -> PreparedDPOTrainer:
    """A stock trainer whose reference is `model` as it is now."""
    numbers = range(len(pairs))
    rows = {
        "prompt": ["?" for _ in numbers],
        "prompt_ids": [pairs.prompts[n].tolist() for n in numbers],
        "chosen_ids": [pairs.chosen[n].tolist() for n in numbers],
        "rejected_ids": [pairs.rejected[n].tolist() for n in numbers],
    }
    arguments = DPOConfig(
        output_dir=str(folder),
        beta=BETA,
        max_length=None,
        precompute_ref_log_probs=True,
        activation_checkpointing=False,
        use_cpu=True,
        bf16=False,
        report_to="none",
        **settings,
    )
    return PreparedDPOTrainer(
        model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=make_tokenizer(),
        peft_config=adapters,
    )


def make_own(kind: str, pairs: TokenPairs, **settings: Any) -> SharedPromptDPOTrainer:
    """parley's trainer with a policy that has moved away from the reference."""
    known = pairs.with_reference(response_log_probs(make_model(kind), pairs))
    config = make_config(beta=BETA, **settings)
    trainer = build_trainer(make_model(kind), make_tokenizer(), known, config, CPU)
    with torch.no_grad():
        for parameter in trainer.policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    return trainer


def backward(trainer: DPOTrainer, batch: dict[str, Any]) -> tuple[float, dict[str, Tensor]]:
    """The loss of a batch and the gradients of all weights."""
    model: Any = trainer.model
    model.train()
    model.zero_grad()
    loss = trainer.compute_loss(model, batch)
    loss.backward()
    named = model.named_parameters()
    return loss.item(), {name: p.grad.clone() for name, p in named if p.grad is not None}


def assert_equal(own: SharedPromptDPOTrainer, stock: PreparedDPOTrainer) -> None:
    dataset: Any = stock.train_dataset
    pairs = own.pairs
    everything = np.arange(len(pairs))
    stock_loss, stock_grads = backward(stock, stock.data_collator(list(dataset)))
    part = {"share": 1.0, **collate(pairs, everything, own.forward.shares_prompts)}
    own_loss, own_grads = backward(own, part)
    assert own_loss == pytest.approx(stock_loss, rel=TOLERANCE, abs=TOLERANCE)
    assert own_grads
    assert own_grads.keys() == stock_grads.keys()
    for name, grad in own_grads.items():
        scale = max(1.0, float(grad.abs().max()))
        torch.testing.assert_close(grad, stock_grads[name], rtol=0.0, atol=scale * TOLERANCE)
    for name, values in stock._metrics["train"].items():
        if name != "num_tokens":
            assert own._metrics["train"][name] == pytest.approx(values, abs=1e-5), name


@pytest.mark.parametrize("kind", ["gpt2", "llama", "neox"])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_gradients_and_metrics_equal_those_of_trl(
    kind: str, loss: str, tmp_path: Path
) -> None:
    own_settings, stock_settings = LOSSES[loss]
    pairs = make_pairs()
    own = make_own(kind, pairs, **own_settings)
    assert own.forward.plan == (True, True)
    reference = make_model(kind)
    adapters = make_adapters(reference, LoraConfig(rank=own_settings.get("rank", 0)))
    stock = make_stock(reference, pairs, tmp_path, adapters, **stock_settings)
    assert isinstance(stock.model, nn.Module)
    stock.model.load_state_dict(own.policy.state_dict())
    assert_equal(own, stock)


@pytest.mark.parametrize("loss_type", ["ipo", "hinge", "robust", "apo_zero", "sigmoid_norm"])
def test_other_losses_of_trl_equal_too(loss_type: str, tmp_path: Path) -> None:
    pairs = make_pairs()
    own = make_own("gpt2", pairs)
    own.loss_types = [loss_type]
    stock = make_stock(make_model("gpt2"), pairs, tmp_path, loss_type=[loss_type])
    assert isinstance(stock.model, nn.Module)
    stock.model.load_state_dict(own.policy.state_dict())
    assert_equal(own, stock)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "neox"])
def test_reference_log_probs_equal_those_that_trl_computes(kind: str, tmp_path: Path) -> None:
    pairs = make_pairs()
    own = response_log_probs(make_model(kind), pairs)
    dataset: Any = make_stock(make_model(kind), pairs, tmp_path).train_dataset
    theirs = np.stack([dataset["ref_chosen_logps"], dataset["ref_rejected_logps"]], 1)
    np.testing.assert_allclose(own, theirs, rtol=0.0, atol=2e-5)
