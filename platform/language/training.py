"""Next-token training of a GPT-2 on dialogues, in plain torch, without Ray.

Every gradient step is a function of the settings, the seed and the state before it: a trainer that
is restored goes on as the one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from parley.envs.labels import IGNORED_LABEL
from parley.platform.engine.torch.loss_fault import LossFault, NonFiniteLossError, batch_columns
from parley.platform.engine.torch.optimiser import JointOptimiser, split_parameters
from parley.platform.engine.torch.precision import mixed_precision
from parley.platform.engine.torch.schedule import learning_rate_factor
from parley.platform.language.batches import Batch, BatchStream, make_batch, plan_batches
from parley.platform.language.dialogue_tokens import TokenDialogues, cover_windows
from parley.platform.language.settings import LanguageModelConfig, LanguageTrainingConfig
from parley.platform.language.tokenizer import end_token_of
from parley.platform.records import State
from parley.platform.terminal.activities import each
from parley.policies.dialogue.pretrained import load_pretrained

ADAM_BETAS = (0.9, 0.95)
"""For dialogues; torch's own are a little slower there."""
EVALUATION_TOKENS = 16_384
"""Tokens of one forward pass that measures."""


@dataclass(frozen=True)
class DialogueLosses:
    """What a model finds surprising, by dialogue."""

    nats: NDArray[np.float64]
    """[D]: the sum over the dialogue's predicted tokens."""
    counts: NDArray[np.int64]
    """[D]: how many they are."""

    @property
    def mean(self) -> float:
        """Nats per token over all dialogues."""
        return float(self.nats.sum() / self.counts.sum())


def build_language_model(
    sizes: LanguageModelConfig, tokenizer: PreTrainedTokenizerFast, seed: int
) -> GPT2LMHeadModel:
    """A GPT-2 with fresh weights for a tokenizer's vocabulary."""
    end_token = end_token_of(tokenizer)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=sizes.context,
        n_embd=sizes.embed_size,
        n_layer=sizes.layers,
        n_head=sizes.heads,
        resid_pdrop=sizes.dropout,
        embd_pdrop=sizes.dropout,
        attn_pdrop=sizes.dropout,
        bos_token_id=end_token,
        eos_token_id=end_token,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config)


def load_gpt2(folder: Path) -> GPT2LMHeadModel:
    """The model that `save_pretrained` wrote into `folder`, on the CPU."""
    model: GPT2LMHeadModel = load_pretrained(GPT2LMHeadModel, str(folder), use_safetensors=True)
    return model


class LanguageTrainer:
    """Gradient steps on a language model.

    Args:
        model: the language model, on its device.
        dialogues: what to learn.
        training: the settings.
        seed: of the batches and of dropout.
    """

    def __init__(
        self,
        model: GPT2LMHeadModel,
        dialogues: TokenDialogues,
        training: LanguageTrainingConfig,
        seed: int,
    ) -> None:
        self.model = model
        self.training = training
        self.seed = seed
        self.num_steps = 0
        self.num_tokens = 0
        """Predicted tokens so far."""
        self.stream = BatchStream(
            dialogues, int(model.config.n_positions), training.batch_tokens, seed
        )
        self.device = next(model.parameters()).device
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimiser = language_optimiser(model, training)

    def learn(self) -> tuple[float, int]:
        """Take one gradient step; give the batch's mean loss and its number of predicted tokens.

        Raises:
            NonFiniteLossError: the gradient is not finite; the weights are as before.
        """
        batch = self.stream.draw()
        num_targets = batch.num_targets
        torch.manual_seed(_noise_seed(self.seed, self.num_steps))
        self.model.train()
        with mixed_precision(self.device):
            losses = token_losses(self.model, batch.to(self.device))
        loss = losses.sum() / num_targets
        self._optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, self.training.max_grad_norm)
        if not (torch.isfinite(norm) and torch.isfinite(loss)):
            raise NonFiniteLossError(
                f"the loss is {loss.item()} and the gradient's length {norm.item()} at gradient "
                f"step {self.num_steps + 1}; lower training.learning_rate or "
                f"training.max_grad_norm",
                LossFault(
                    {"step": self.num_steps + 1, "loss": loss.item(), "gradient_norm": norm.item()},
                    batch_columns(vars(batch)),
                ),
            )
        self._optimiser.step(self.learning_rate_factor)
        self.num_steps += 1
        self.num_tokens += num_targets
        return loss.item(), num_targets

    @property
    def learning_rate_factor(self) -> float:
        """The share of the peak learning rates at which the next gradient step is taken."""
        return learning_rate_factor(
            self.num_steps, self.training.warmup_steps, self.training.num_steps
        )

    def state(self) -> State:
        """Everything but the weights: plain values and arrays, see `checkpoints.state_tree`."""
        return {
            "num_steps": self.num_steps,
            "num_tokens": self.num_tokens,
            "epoch": self.stream.epoch,
            "place": self.stream.place,
            "optimiser": self._optimiser.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; the weights are the caller's to load."""
        self.num_steps = state["num_steps"]
        self.num_tokens = state["num_tokens"]
        self.stream.seek(state["epoch"], state["place"])
        self._optimiser.restore(state["optimiser"])


def language_optimiser(model: nn.Module, training: LanguageTrainingConfig) -> JointOptimiser:
    """Both optimisers for a GPT-2 that learns dialogues."""
    inner, outer = split_parameters(model)
    groups = [
        {"params": [p for p in outer if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in outer if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return JointOptimiser(
        [{**group, "lr": training.learning_rate} for group in groups],
        inner,
        training.matrix_learning_rate,
        training.weight_decay,
        ADAM_BETAS,
    )


def token_losses(model: GPT2LMHeadModel, batch: Batch) -> Tensor:
    """Nats float32 [B, T] of each target; 0 where there is none."""
    logits = model(batch.inputs, use_cache=False).logits  # [B, T, V]
    losses = F.cross_entropy(
        logits.float().flatten(0, 1),
        batch.targets.flatten(),
        ignore_index=IGNORED_LABEL,
        reduction="none",
    )
    return losses.view(batch.targets.shape)


@torch.no_grad()
def measure_losses(model: GPT2LMHeadModel, dialogues: TokenDialogues) -> DialogueLosses:
    """The loss of every token but the first of each dialogue, each counted once.

    In float32 on every device, so that figures compare.
    """
    model.eval()
    device = next(model.parameters()).device
    windows = cover_windows(dialogues, int(model.config.n_positions))
    owners = np.searchsorted(dialogues.offsets, [w.start for w in windows], side="right") - 1
    nats = np.zeros(len(dialogues))
    counts = np.zeros(len(dialogues), np.int64)
    lengths = np.array([window.length for window in windows], np.int64)
    for chosen in each(plan_batches(lengths, EVALUATION_TOKENS), "measuring the loss", "batches"):
        batch = make_batch(dialogues, [windows[index] for index in chosen])
        sums = token_losses(model, batch.to(device)).double().sum(1).cpu().numpy()
        np.add.at(nats, owners[chosen], sums)
        np.add.at(counts, owners[chosen], (batch.targets != IGNORED_LABEL).sum(1).numpy())
    return DialogueLosses(nats, counts)


def _noise_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
