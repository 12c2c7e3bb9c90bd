"""The settings of `dialogue/pretrain`: a language model that learns to answer from dialogues."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from parley.platform.settings.inputs import Input
from parley.platform.settings.rules import check_heads, check_warmup
from parley.platform.settings.sections import (
    Count,
    ExperimentConfig,
    ExperimentName,
    NonNegative,
    Positive,
    Rate,
    ReadIf,
    Section,
    When,
    conflict,
)

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class DialogueDataConfig(Section):
    """The dialogues to learn from."""

    SHORT_KEY: ClassVar[str] = "path"
    """`data=FOLDER` means `data.path=FOLDER`."""

    path: Annotated[str, Input("data")] = ""
    """File or folder of conversations (JSON, JSON lines or plain text); empty: small talk that
    parley generates."""
    num_dialogues: Annotated[int, Field(ge=10)] = 20_000
    """Generated dialogues, where `path` is empty."""
    holdout: Share = 0.1
    """Share of the dialogues on which the finished model is measured."""
    selection: Share = 0.05
    """Share of the dialogues by which the best checkpoint is chosen during training."""

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.holdout + self.selection >= 1.0:
            raise conflict(
                "data.holdout",
                f"data.holdout {self.holdout} and data.selection {self.selection} leave nothing to "
                f"train on; lower one of them",
            )
        return self


class LanguageModelConfig(Section):
    """A GPT-2 of any size and the vocabulary it speaks."""

    vocab_size: Annotated[int, Field(ge=257)] = 2_000
    """Most tokens of the tokenizer: 256 bytes, the end-of-text token, and merges."""
    context: Annotated[int, Field(ge=8)] = 256
    """Longest input, in tokens."""
    embed_size: Positive = 128
    """Width of the residual stream; a multiple of `heads`."""
    layers: Positive = 2
    """Transformer blocks."""
    heads: Positive = 4
    """Attention heads of a block."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout of embeddings, attention and residuals; 0 where the data is larger than the model."""

    _check_heads = model_validator(mode="after")(check_heads)


class LanguageTrainingConfig(Section):
    """Next-token training by Muon and AdamW."""

    num_steps: Positive = 1_000
    """Gradient steps."""
    batch_tokens: Positive = 2_048
    """Most tokens of one gradient step, padding included."""
    learning_rate: Rate = 1.5e-2
    """Peak learning rate of AdamW: embeddings, biases and norms."""
    matrix_learning_rate: Rate = 2e-2
    """Peak learning rate of Muon: the matrices inside the blocks."""
    warmup_steps: Count = 100
    """Gradient steps to reach the peaks; a cosine to zero follows."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay of matrices and embeddings; none on biases and norms."""
    max_grad_norm: Rate = 1.0
    """Longest gradient; longer ones are scaled down."""
    eval_interval: Positive = 200
    """Gradient steps between measures on the selection dialogues."""

    _check_warmup = model_validator(mode="after")(check_warmup)


class PretrainLearnerConfig(Section):
    """Where the gradients are computed."""

    num_gpus_per_learner: NonNegative = 0.0
    """Above 0 the learner uses the GPU, in bfloat16, where the machine has one."""
    num_threads: Count = 1
    """Torch threads; 0: as many as torch chooses. Models below some 40 million parameters gain
    nothing from a second one."""


class PretrainEvaluationConfig(Section):
    """What is shown besides the held-out figures."""

    samples: Count = 2
    """Dialogues that the model holds with itself at every evaluation; 0: none."""
    sample_turns: Positive = 4
    """Replies of such a dialogue."""
    sample_tokens: Positive = 32
    """Most tokens of one reply."""


class PretrainConfig(ExperimentConfig):
    """A tokenizer and a GPT-2 from dialogues, in DialoGPT's format."""

    POLICY = "speaker"

    READ_IF: ClassVar[tuple[ReadIf, ...]] = (
        *ExperimentConfig.READ_IF,
        ReadIf(("data.num_dialogues",), (When("data.path", ("",)),)),
        ReadIf(("checkpoint.stop_grace_s",)),
    )

    workflow: Literal["dialogue"] = "dialogue"
    algorithm: Literal["pretrain"] = "pretrain"
    experiment: ExperimentName = "dialogue/pretrain"
    data: DialogueDataConfig = DialogueDataConfig()
    model: LanguageModelConfig = LanguageModelConfig()
    training: LanguageTrainingConfig = LanguageTrainingConfig()
    learner: PretrainLearnerConfig = PretrainLearnerConfig()
    evaluation: PretrainEvaluationConfig = PretrainEvaluationConfig()

    @model_validator(mode="after")
    def _check_batch(self) -> Self:
        if self.training.batch_tokens < self.model.context:
            raise conflict(
                "training.batch_tokens",
                f"training.batch_tokens {self.training.batch_tokens} holds no window of "
                f"model.context {self.model.context} tokens; raise the first",
            )
        return self
