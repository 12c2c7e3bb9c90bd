"""TRL's DPO on shared prompts: the only module that knows TRL.

Loss, metrics, accumulation of figures and the loop are TRL's and transformers'. Three things are
parley's: what a batch looks like (`batches`), how the log-probabilities in it are computed
(`forward`), and that the reference's are given rather than computed. TRL's loss code asks a
model for log-probabilities of a batch; it is handed a stand-in that answers from the packed rows.

A gradient step is a function of the settings, the seed and the state before it: a trainer that is
restored goes on as the one that was never stopped.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import deepcopy
from tempfile import TemporaryDirectory
from typing import Any, cast

import datasets
import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    get_scheduler,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from parley.platform.cooperate.dpo.batches import PackedResponses, plan_steps
from parley.platform.cooperate.dpo.forward import ResponseForward
from parley.platform.cooperate.dpo.head import TargetScores
from parley.platform.cooperate.dpo.loader import PairLoader, check_warmup, num_gradient_steps
from parley.platform.cooperate.dpo.setup import choose_precision, make_adapters
from parley.platform.cooperate.dpo.state import load_state, save_state
from parley.platform.cooperate.dpo.token_pairs import PairDataError, TokenPairs
from parley.platform.cooperate.settings import DialogueDPOConfig, DPOSection
from parley.platform.engine.torch.loss_fault import LossFault, NonFiniteLossError
from parley.platform.records import Batch, State
from parley.platform.terminal.activities import Activity, activity
from parley.platform.terminal.interpreter import without_optional

# Trackers are told by parley; TRL would load this one, two seconds, wherever it is installed.
with without_optional("wandb"):
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.utils import FusedCausalLMOutput, disable_dropout_in_model

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
"""dpo.schedule -> transformers' name."""
ROW_KEYS = {
    "objective": "objective",
    "dpo_loss": "loss",
    "chosen_nll": "chosen_nll",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "logps/chosen": "log_prob_chosen",
    "logps/rejected": "log_prob_rejected",
    "entropy": "entropy",
    "length/chosen": "response_tokens_chosen",
    "length/rejected": "response_tokens_rejected",
}
"""A figure of a step, by TRL's name where it has one -> the name of its mean in a training row.

The objective is what is minimised: the DPO loss, `loss`, and the weighted `chosen_nll`."""

Report = Callable[[dict[str, float]], bool]
"""Takes a row of figures; says whether to stop."""


class SharedPromptDPOTrainer(DPOTrainer):
    """TRL's trainer with prompts read once and a reference that is given.

    Make one with `build_trainer`, call `restore` to resume an earlier run, then `run`.

    Args:
        model: the policy.
        tokenizer: of the model.
        pairs: what to learn, with the reference's log-probabilities.
        dpo: the settings.
        seed: of the batches and of the adapters' dropout.
        arguments: TRL's own settings.
        adapters: peft's settings, where adapters are trained in place of the weights.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        pairs: TokenPairs,
        dpo: DPOSection,
        seed: int,
        arguments: DPOConfig,
        adapters: Any = None,
    ) -> None:
        use_cache = model.config.use_cache
        super().__init__(
            model=model,
            args=arguments,
            # TRL wants a dataset; the batches come from `PairLoader`.
            train_dataset=datasets.Dataset.from_dict({"pair": range(len(pairs))}),
            data_collator=_keep,
            processing_class=tokenizer,
            peft_config=adapters,
        )
        model.config.use_cache = use_cache
        vars(model).pop("forward", None)  # TRL's fused head, for which there is no use here
        self.remove_callback(PrinterCallback)
        self.add_callback(_Flow(self))
        self.pairs = pairs
        self.dpo = dpo
        self.seed = seed
        self.num_steps = 0
        """Gradient steps so far, over all parts of an interrupted run."""
        self.total_steps = num_gradient_steps(pairs, dpo)
        assert isinstance(self.model, nn.Module)
        self.policy: nn.Module = self.model
        """The model, inside adapters where it has them."""
        self._base = model
        self.forward = ResponseForward(self.policy)
        self.interval_steps = 1
        self.is_stopping: Callable[[], bool] = lambda: False
        self.was_stopped = False
        self.is_whole = True
        """Whether weights and moments are those after `num_steps`; false within an update."""
        self._report: Report = lambda row: False
        self._figures: defaultdict[str, list[float]] = defaultdict(list)
        """By TRL's names, of all parts of the steps since the last row."""
        self._newest: dict[str, float] = {}
        """Figures of which a row shows the last step's."""
        self._reported_step, self._reported_at = 0, time.perf_counter()
        self._earlier_s = 0.0
        """Of the time since the last row, what an earlier process spent."""
        self._terms: list[Tensor] = []
        """[2] of each part of a step: its share of the step's DPO loss and NLL."""
        self._activity = Activity("training")
        self._optimiser = self.create_optimizer()
        self._schedule = get_scheduler(
            SCHEDULES[dpo.schedule], self._optimiser, dpo.warmup_steps, self.total_steps
        )
        self.lr_scheduler = self._schedule

    def run(
        self,
        report: Report,
        interval_steps: int,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Take the remaining gradient steps; whether it was stopped without a row.

        Args:
            report: gets a row every `interval_steps` steps and after the last one.
            interval_steps: gradient steps between rows.
            is_stopping: asked after each step, before its row; True: stop. A row that is due comes
                when the run goes on.

        Raises:
            NonFiniteLossError: the loss or the gradient is not a number.
        """
        self._report, self.interval_steps = report, interval_steps
        self.is_stopping, self.was_stopped = is_stopping, False
        self._reported_at, self._earlier_s = time.perf_counter() - self._earlier_s, 0.0
        with activity(
            "training", self.total_steps, "steps", self.num_steps, pace_unit="pairs"
        ) as self._activity:
            ended = self._figures and self._is_row_due() and self._hand_over_row()
            if not ended and self.num_steps < self.total_steps:
                self.train()
        return self.was_stopped

    def state_for_resume(self) -> State:
        """Trained weights, moments and counters as plain values and arrays, see `state_tree`.

        Sound while `is_whole`, also within a step.
        """
        state = save_state(self.policy, self._optimiser, self.accelerator.scaler)
        unreported = {
            "figures": dict(self._figures),
            "newest": self._newest,
            "step": self._reported_step,
            "seconds": time.perf_counter() - self._reported_at,
        }
        return {
            "step": self.num_steps,
            "fingerprint": self.pairs.fingerprint,
            "unreported": unreported,
            **state,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_for_resume`, of the same pairs, with any beta and learning rate.

        Raises:
            PairDataError: it belongs to other pairs or another tokenizer.
        """
        self.pairs.check_same(state["fingerprint"])
        load_state(state, self.policy, self._optimiser, self.accelerator.scaler)
        self.num_steps = int(state["step"])
        unreported = state.get("unreported", {"figures": {}, "newest": {}, "seconds": 0.0})
        self._figures = defaultdict(list, unreported["figures"])
        self._newest = unreported["newest"]
        self._reported_step = unreported.get("step", self.num_steps)
        self._earlier_s = unreported["seconds"]
        place = {"last_epoch": self.num_steps, "_step_count": self.num_steps + 1}
        self._schedule.load_state_dict(self._schedule.state_dict() | place)
        peaks, factors = self._schedule.base_lrs, self._schedule.lr_lambdas
        for group, peak, factor in zip(self._optimiser.param_groups, peaks, factors, strict=True):
            group["lr"] = peak * factor(self.num_steps)

    def merged_policy(self) -> PreTrainedModel:
        """The policy as a plain model: itself, or a copy that took its adapters in."""
        if self.policy is self._base:
            return self._base
        merged: PreTrainedModel = deepcopy(self.policy).merge_and_unload()  # type: ignore[operator]
        return merged

    def get_train_dataloader(self) -> PairLoader:  # type: ignore[override]
        """The batches of the remaining steps."""
        return PairLoader(
            self.pairs, self.dpo, self.seed, self.num_steps, self.forward.shares_prompts
        )

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None
    ) -> Tensor:
        """Compute the gradient of one step's pairs, part by part; give their mean loss."""
        noise = np.random.SeedSequence([self.seed, self.num_steps]).generate_state(1)
        torch.manual_seed(int(noise[0]))
        self._metrics["train"].clear()  # of a step that was given up
        self._terms.clear()
        losses = [
            super(SharedPromptDPOTrainer, self).training_step(model, part)
            for part in inputs["parts"]
        ]
        loss = torch.stack(losses).sum()
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {loss.item()}", {"loss": loss.item()})
        self._metrics["train"]["objective"] = [loss.item()]
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Scale the gradient down where it is too long; give its length before.

        Raises:
            NonFiniteLossError: it is not a number; with fp16 such steps are skipped instead.
        """
        norm: Tensor = super()._clip_grad_norm(model)
        if self.accelerator.scaler is None and not torch.isfinite(norm):
            raise self._diverged(
                f"the gradient's length is {norm.item()}", {"gradient_norm": norm.item()}
            )
        rate = float(self._optimiser.param_groups[0]["lr"])
        self._newest = {"learning_rate": rate, "grad_norm": norm.item()}
        return norm

    def _diverged(self, what: str, figures: dict[str, float]) -> NonFiniteLossError:
        """The error, with numbers, texts and reference log-probabilities of the step's pairs."""
        per_epoch = self.total_steps // self.dpo.num_epochs
        plan = plan_steps(self.pairs, self.dpo.batch_size, self.seed, self.num_steps // per_epoch)
        chosen = plan[self.num_steps % per_epoch]
        reference = self.pairs.reference
        assert reference is not None
        tokenizer = cast("PreTrainedTokenizerBase", self.processing_class)
        facts = {
            "step": self.num_steps + 1,
            **figures,
            "learning_rates": [float(group["lr"]) for group in self._optimiser.param_groups],
            "pairs": [
                {
                    "number": int(pair),
                    "chosen": tokenizer.decode(self.pairs.chosen[pair]),
                    "rejected": tokenizer.decode(self.pairs.rejected[pair]),
                }
                for pair in chosen
            ],
        }
        return NonFiniteLossError(
            f"{what} at gradient step {self.num_steps + 1}; lower dpo.learning_rate or "
            f"dpo.max_grad_norm",
            LossFault(facts, {"reference": reference[chosen]}),
        )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Tensor:
        """TRL's loss of one part, times its share of the step's pairs."""
        packed = PackedResponses(**inputs["packed"])
        lengths = inputs["trl"]["completion_mask"].sum(1).float().chunk(2)
        for name, counts in zip(("chosen", "rejected"), lengths, strict=True):
            self._metrics["train"][f"length/{name}"].append(counts.mean().item())
        with self.accelerator.autocast():
            scores = self.forward.score(packed)

        def answer(**_: Any) -> FusedCausalLMOutput:
            return FusedCausalLMOutput(
                log_probs=_spread(scores.log_probs, packed.places),
                entropy=_spread(scores.entropies, packed.places),
                mean_logits=_spread(scores.mean_logits, packed.places),
                is_top1=_spread(scores.is_top, packed.places),
            )

        loss = super().compute_loss(answer, inputs["trl"])
        if self.dpo.label_smoothing:
            # TRL's sigmoid loss ignores the setting. -log sigmoid(-m) is m - log sigmoid(m).
            loss = loss + self.dpo.label_smoothing * self._margins(scores, inputs["trl"], packed)
        responses, _ = packed.places.chunk(2)
        chosen = scores.log_probs.detach()[responses[responses < len(scores.log_probs)]]
        nll = -chosen.float().mean()
        dpo_loss = loss.detach() - self.dpo.chosen_nll_weight * nll
        self._terms.append(torch.stack([dpo_loss, nll]) * inputs["share"])
        return loss * inputs["share"]

    def _margins(
        self, scores: TargetScores, given: Mapping[str, Tensor], packed: PackedResponses
    ) -> Tensor:
        """The mean margin of the implicit rewards of a part's pairs."""
        tuned = _spread(scores.log_probs, packed.places).sum(1)
        chosen, rejected = tuned.chunk(2)
        margins = (chosen - given["ref_chosen_logps"]) - (rejected - given["ref_rejected_logps"])
        return self.dpo.beta * margins.mean()

    def count_step(self) -> None:
        """Take in that a gradient step is done, and hand over its row where one is due."""
        self.num_steps += 1
        self.is_whole = True
        dpo_loss, chosen_nll = torch.stack(self._terms).sum(0).tolist()
        terms = {"dpo_loss": [dpo_loss], "chosen_nll": [chosen_nll]}
        for name, values in (self._metrics["train"] | terms).items():
            self._figures[name] += values
        self._activity.advance(handled=self.dpo.batch_size, loss=dpo_loss)
        if self.is_stopping():
            self.control.should_training_stop = self.was_stopped = True
        elif self._is_row_due() and self._hand_over_row():
            self.control.should_training_stop = True

    def _is_row_due(self) -> bool:
        return self.num_steps % self.interval_steps == 0 or self.num_steps == self.total_steps

    def _hand_over_row(self) -> bool:
        """Report the means over the steps since the last row; whether to stop."""
        means = {name: sum(values) / len(values) for name, values in self._figures.items()}
        row = {name: means[key] for key, name in ROW_KEYS.items()} | self._newest
        for side in ("chosen", "rejected"):
            ratio = row[f"reward_{side}"] / self.dpo.beta
            row[f"log_ratio_{side}"] = ratio / row[f"response_tokens_{side}"]
        steps = self.num_steps - self._reported_step
        seconds = time.perf_counter() - self._reported_at
        per_epoch = self.total_steps / self.dpo.num_epochs
        stops = self._report(
            {
                "step": self.num_steps,
                "epoch": self.num_steps / per_epoch,
                **row,
                "pairs_per_s": steps * self.dpo.batch_size / seconds,
            }
        )
        self.close_row()
        return stops

    def close_row(self) -> None:
        """Forget what a row tells that is made: a state that is saved from here on is behind it."""
        self._figures.clear()
        self._reported_step, self._reported_at = self.num_steps, time.perf_counter()

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any) -> datasets.Dataset:
        """The pairs are tokens already."""
        return dataset

    def _precompute_ref_logps(self, dataset: datasets.Dataset, *_: Any) -> datasets.Dataset:
        """The reference's log-probabilities are given."""
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing leaves the machine."""


def _keep(batch: Any) -> Any:
    """In place of TRL's collator, which would not be called."""
    return batch


class _Flow(TrainerCallback):
    """Tells the trainer where in a gradient step transformers' loop is."""

    def __init__(self, trainer: SharedPromptDPOTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take off the `forward` that accelerate has just put around the model.

        It computes in the number format of training, which `compute_loss` asks for by itself;
        whoever measures or saves the model between two steps is to find it as it was.
        """
        trainer = self._trainer
        trainer.accelerator.unwrap_model(trainer.policy, keep_fp32_wrapper=False)
        vars(trainer.policy).pop("forward", None)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._trainer.is_whole = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._trainer.count_step()


def _spread(values: Tensor, places: Tensor) -> Tensor:
    """The T values where `places` [2B, C] say; 0 where a response has ended."""
    return torch.cat([values, values.new_zeros(1)])[places]


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: TokenPairs,
    config: DialogueDPOConfig,
    device: torch.device,
) -> SharedPromptDPOTrainer:
    """A trainer of `model`, which it changes, on pairs whose reference is known.

    Args:
        model: the policy at its start: the reference.
        tokenizer: of the model.
        pairs: what to learn; `reference` is given.
        config: the settings; `config.lora` wraps the model in adapters.
        device: where to compute.

    Raises:
        PairDataError: the reference's log-probabilities are missing.
        InputError: settings that cannot work together here.
    """
    if pairs.reference is None:
        raise PairDataError("the pairs have no reference log-probabilities; compute them first")
    dpo = config.dpo
    check_warmup(pairs, dpo)
    disable_dropout_in_model(model)
    adapters = make_adapters(model, config.lora)
    with TemporaryDirectory() as folder:
        arguments = make_arguments(dpo, config.seed, device, folder)
        return SharedPromptDPOTrainer(
            model, tokenizer, pairs, dpo, config.seed, arguments, adapters
        )


def make_arguments(dpo: DPOSection, seed: int, device: torch.device, folder: str) -> DPOConfig:
    """TRL's own settings.

    Raises:
        InputError: see `choose_precision`.
    """
    precision = choose_precision(dpo, device)
    weight = dpo.chosen_nll_weight
    return DPOConfig(
        output_dir=folder,
        beta=dpo.beta,
        loss_type=["sigmoid", "sft"] if weight else ["sigmoid"],
        loss_weights=[1.0, weight] if weight else None,
        learning_rate=dpo.learning_rate,
        weight_decay=dpo.weight_decay,
        max_grad_norm=dpo.max_grad_norm,
        num_train_epochs=1,  # `PairLoader` holds all passes
        per_device_train_batch_size=dpo.batch_size,
        precompute_ref_log_probs=True,
        disable_dropout=False,  # the adapters keep theirs
        max_length=None,
        router_aux_loss_coef=0.0,  # log-probabilities are all that TRL's loss is given
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device.type == "cpu",
        activation_checkpointing=dpo.gradient_checkpointing,
        optim="adamw_torch_fused",
        seed=seed,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
