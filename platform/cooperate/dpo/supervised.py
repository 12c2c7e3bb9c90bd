"""Supervised fine-tuning on the chosen responses: what DPO starts from, and its reference.

The loss is the mean negative log-likelihood of the response tokens, end-of-text included; prompts
are read and not learned. A gradient step is a function of the settings, the seed and the state
before it: a tuning that is restored goes on as the one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from parley.platform.cooperate.dpo.batches import PackedResponses, pack_pairs, plan_steps
from parley.platform.cooperate.dpo.forward import ResponseForward
from parley.platform.cooperate.dpo.state import load_state, save_state
from parley.platform.cooperate.dpo.token_pairs import TokenPairs
from parley.platform.cooperate.settings import SupervisedConfig
from parley.platform.engine.torch.loss_fault import LossFault, NonFiniteLossError, batch_columns
from parley.platform.engine.torch.precision import mixed_precision
from parley.platform.engine.torch.schedule import learning_rate_factor
from parley.platform.errors import InputError
from parley.platform.records import State
from parley.platform.terminal.activities import activity

MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class FineTuning:
    """What supervised fine-tuning did."""

    responses: int
    """Different (prompt, chosen response) that were learned."""
    steps: int
    """Gradient steps."""
    first_loss: float
    """Nats per response token in the first step; 0 without steps."""
    last_loss: float
    """And in the last one."""


def fine_tune(
    model: PreTrainedModel, pairs: TokenPairs, config: SupervisedConfig, seed: int
) -> FineTuning:
    """Train `model` in place on the chosen responses, each counted once for its prompt.

    Raises:
        InputError: the warm-up is longer than the training.
        NonFiniteLossError: the loss or the gradient is not a number.
    """
    tuner = FineTuner(model, pairs, config, seed)
    tuner.run()
    return tuner.outcome()


class FineTuner:
    """`fine_tune` that can be stopped, and taken up again.

    Args:
        model: trained in place.
        pairs: whose chosen responses are learned.
        config: the settings.
        seed: of the batches and of dropout.

    Raises:
        InputError: the warm-up is longer than the training.
    """

    def __init__(
        self, model: PreTrainedModel, pairs: TokenPairs, config: SupervisedConfig, seed: int
    ) -> None:
        self.model = model
        self.pairs = pairs
        self.config = config
        self.seed = seed
        self.chosen = unique_chosen(pairs)
        self.total_steps = -(-len(self.chosen) // config.batch_size) * config.num_epochs
        if self.total_steps and config.warmup_steps >= self.total_steps:
            raise InputError(
                f"supervised.warmup_steps = {config.warmup_steps}, but {len(self.chosen)} chosen "
                f"responses make {self.total_steps} gradient steps; set supervised.warmup_steps to "
                f"at most {self.total_steps // 2}, or raise supervised.num_epochs"
            )
        self.losses: list[float] = []
        """Of every gradient step so far."""
        self.is_whole = True
        """Whether weights and moments are those after `losses`; false within an update."""
        self._forward = ResponseForward(model)
        self._device = next(model.parameters()).device
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=config.learning_rate, weight_decay=0.0, fused=True
        )

    @property
    def is_done(self) -> bool:
        """Whether all gradient steps are."""
        return len(self.losses) == self.total_steps

    def run(self, is_stopping: Callable[[], bool] = lambda: False) -> bool:
        """Take the remaining gradient steps, until `is_stopping`; whether all are done.

        Raises:
            NonFiniteLossError: the loss or the gradient is not a number.
        """
        with activity(
            "supervised fine-tuning",
            self.total_steps,
            "steps",
            len(self.losses),
            pace_unit="responses",
        ) as tuning:
            for batch in self._remaining():
                if is_stopping():
                    return False
                self._step(batch)
                tuning.advance(handled=len(batch), loss=self.losses[-1])
        self.model.eval()
        return True

    def outcome(self) -> FineTuning:
        """What was done so far."""
        ends = (self.losses[0], self.losses[-1]) if self.losses else (0.0, 0.0)
        return FineTuning(len(self.chosen), len(self.losses), *ends)

    def state_for_resume(self) -> State:
        """Weights, moments and losses as plain values and arrays; sound while `is_whole`."""
        state = save_state(self.model, self._optimiser, None)
        return {"fingerprint": self.pairs.fingerprint, "losses": [*self.losses], **state}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_for_resume`, with the same settings.

        Raises:
            PairDataError: it belongs to other pairs or another tokenizer.
        """
        self.pairs.check_same(state["fingerprint"])
        load_state(state, self.model, self._optimiser, None)
        self.losses = [*state["losses"]]

    def _remaining(self) -> Iterator[NDArray[np.int64]]:
        """The responses of each step that is not done."""
        per_epoch = self.total_steps // max(1, self.config.num_epochs)
        for epoch in range(self.config.num_epochs):
            plan = plan_steps(self.chosen, self.config.batch_size, self.seed, epoch)
            yield from plan[max(0, len(self.losses) - epoch * per_epoch) :]

    def _step(self, batch: NDArray[np.int64]) -> None:
        step = len(self.losses)
        factor = learning_rate_factor(step, self.config.warmup_steps, self.total_steps)
        self._optimiser.param_groups[0]["lr"] = self.config.learning_rate * factor
        torch.manual_seed(int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0]))
        self.model.train()
        packed = pack_pairs(self.chosen, batch, self._forward.shares_prompts).to(self._device)
        with mixed_precision(self._device):
            loss = -self._forward.score(packed).log_probs.mean()
        self._optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, MAX_GRAD_NORM)
        if not (torch.isfinite(norm) and torch.isfinite(loss)):
            raise self._diverged(loss.item(), norm.item(), packed)
        self.is_whole = False
        self._optimiser.step()
        self.losses.append(loss.item())
        self.is_whole = True

    def _diverged(self, loss: float, norm: float, packed: PackedResponses) -> NonFiniteLossError:
        step = len(self.losses) + 1
        facts = {
            "step": step,
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": self._optimiser.param_groups[0]["lr"],
        }
        return NonFiniteLossError(
            f"the loss is {loss} and the gradient's length {norm} at step {step} of supervised "
            f"fine-tuning; lower supervised.learning_rate",
            LossFault(facts, batch_columns(vars(packed))),
        )


def unique_chosen(pairs: TokenPairs) -> TokenPairs:
    """One pair for each different (prompt, chosen), with the chosen response on both sides."""
    first: dict[tuple[int, bytes], int] = {}
    for pair in range(len(pairs)):
        first.setdefault((int(pairs.prompt_groups[pair]), pairs.chosen[pair].tobytes()), pair)
    taken = pairs.take(list(first.values()))
    return replace(taken, rejected=taken.chosen, reference=None)
