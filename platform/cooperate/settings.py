"""The settings of `dialogue/dpo`: direct preference optimisation, alone and as a sweep."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from parley.platform.maxims.pair_settings import PreferenceDataConfig
from parley.platform.settings.inputs import Input
from parley.platform.settings.sections import (
    CheckpointConfig,
    Count,
    ExperimentName,
    Fraction,
    NonNegative,
    Positive,
    Rate,
    ReadIf,
    Section,
    When,
    conflict,
)
from parley.platform.settings.sweep import SweepableConfig

Text = Annotated[str, Field(min_length=1)]


class LoraConfig(Section):
    """Low-rank adapters in place of training all weights (Hu et al. 2022)."""

    rank: Count = 0
    """Rank of the adapters; 0: none, all weights are trained."""
    alpha: Rate = 16.0
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout in front of the adapters."""


class SupervisedConfig(Section):
    """Supervised fine-tuning on the chosen responses before DPO; its result is the reference."""

    num_epochs: Count = 2
    """Passes over the chosen responses; 0: the model is the reference as it is."""
    learning_rate: Rate = 5e-4
    """Peak learning rate of AdamW."""
    batch_size: Positive = 16
    """Responses of one gradient step."""
    warmup_steps: Count = 20
    """Gradient steps to reach the peak; a cosine to zero follows."""


class DPOSection(Section):
    """Direct preference optimisation (Rafailov et al. 2023), by TRL's trainer."""

    beta: Rate = 0.1
    """Strength of the pull towards the reference."""
    learning_rate: Rate = 2e-4
    """Peak learning rate of AdamW."""
    num_epochs: Positive = 3
    """Passes over the pairs."""
    batch_size: Positive = 16
    """Pairs of one gradient step."""
    device_batch_size: Count = 0
    """Pairs that are computed together; 0: all of `batch_size`, else it is filled up by gradient
    accumulation."""
    warmup_steps: Count = 100
    """Gradient steps to reach the peak."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    chosen_nll_weight: NonNegative = 1.0
    """Weight of the chosen responses' negative log-likelihood per token besides the DPO loss (RPO,
    Pang et al. 2024): it keeps their probability from falling."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Share of the pairs taken as labelled the wrong way round (cDPO)."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay."""
    max_grad_norm: Rate = 1.0
    """Longest gradient; longer ones are scaled down."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward passes; `auto`: bf16 on a GPU, fp32 on the CPU."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: slower, in less memory."""


class DPOLearnerConfig(Section):
    """Where the gradients of a trial are computed."""

    num_gpus_per_learner: NonNegative | None = None
    """GPUs of a trial; 0 learns on the CPU; absent: one where there is one."""
    num_threads: Count = 1
    """Torch threads of a run on the CPU; 0: as many as torch chooses. Models below some 40 million
    parameters gain nothing from a second one. The trials of a sweep use as many as they have
    CPUs."""


class GenerationConfig(Section):
    """How responses are written for held-out prompts."""

    max_new_tokens: Positive = 48
    """Longest response."""
    num_beams: Positive = 4
    """Of beam search."""
    temperature: Rate = 0.8
    """Of sampling."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Least probability mass of the tokens to sample from."""
    candidates: Positive = 16
    """Samples among which re-ranking chooses."""
    batch_size: Positive = 64
    """Responses written together."""


class JudgesConfig(Section):
    """The detectors: `embedded` is built on first use; else a folder or Hugging Face name."""

    detector: Annotated[Text, Input("detector")] = "embedded"
    """Ranks and repairs; belongs to the pipeline."""
    judge: Annotated[Text, Input("judge")] = "embedded"
    """Counts cooperative responses and chooses among trials; takes no part in the pipeline."""


class DPOEvaluationConfig(Section):
    """What is measured on held-out conversations, and how often."""

    interval_steps: Positive = 50
    """Gradient steps between measures of a training run."""
    prompts: Positive = 64
    """Held-out prompts answered at each of these measures, greedily."""
    final_prompts: Count = 0
    """Held-out prompts of the last evaluation and of `parley evaluate`; 0: all."""
    seed: Count = 10_000
    """Of sampled responses."""
    accuracy_weight: Fraction = 0.5
    """A trial's score is the cooperative rate times one minus this, plus the preference accuracy
    times this."""


class DialogueDPOConfig(SweepableConfig):
    """A generator that learns which of two responses is the more cooperative one."""

    POLICY = "generator"
    SEARCHED = ("dpo.", "lora.")
    FIXED = ("lora.rank",)
    SPACE_EXAMPLE = "dpo.beta.grid = [0.05, 0.1]"

    READ_IF: ClassVar[tuple[ReadIf, ...]] = (
        *SweepableConfig.READ_IF,
        ReadIf(("data.num_generated",), (When("data.path", ("",)),)),
        ReadIf(("lora.alpha", "lora.dropout"), (When("lora.rank"),)),
        ReadIf(
            ("checkpoint.interval_iterations",),
            instead="a checkpoint is saved at every measure: set evaluation.interval_steps",
        ),
    )

    workflow: Literal["dialogue"] = "dialogue"
    algorithm: Literal["dpo"] = "dpo"
    experiment: ExperimentName = "dialogue/dpo"
    model: Annotated[Text, Input("model")] = "auto"
    """Hugging Face name or folder of a causal language model, a run of `dialogue/pretrain`,
    `parley-tiny`, or `auto`."""
    data: PreferenceDataConfig = PreferenceDataConfig()
    lora: LoraConfig = LoraConfig()
    supervised: SupervisedConfig = SupervisedConfig()
    dpo: DPOSection = DPOSection()
    learner: DPOLearnerConfig = DPOLearnerConfig()
    generation: GenerationConfig = GenerationConfig()
    judges: JudgesConfig = JudgesConfig()
    evaluation: DPOEvaluationConfig = DPOEvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig(keep=2)

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        whole, part = self.dpo.batch_size, self.dpo.device_batch_size
        if part and whole % part:
            raise conflict(
                "dpo.device_batch_size",
                f"dpo.device_batch_size {part} does not divide dpo.batch_size {whole}; choose one "
                f"of its divisors",
            )
        return self
