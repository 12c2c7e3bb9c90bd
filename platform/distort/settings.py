"""The settings of adversarial self-play in dialogue."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from parley.platform.settings.inputs import Input
from parley.platform.settings.sections import (
    Count,
    Discount,
    ExperimentConfig,
    ExperimentName,
    Fraction,
    LearnerConfig,
    NonNegative,
    Positive,
    Rate,
    ReadIf,
    RunnerConfig,
    Section,
    When,
    conflict,
)

SeatName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=32)]


class SeatConfig(Section):
    """One participant of the dialogues."""

    SHORT_KEY: ClassVar[str] = "model"
    """`competitor=gpt2` means `seats.competitor.model=gpt2`."""

    model: Annotated[str, Field(min_length=1), Input("model")] = "auto"
    """Hugging Face name or folder of a causal language model, `parley-tiny`, or `auto`."""
    trained: bool = False
    """Whether it learns."""


class DialogueConfig(Section):
    """The rules of a dialogue."""

    order: Annotated[tuple[str, ...], Field(min_length=1, strict=False)] = (
        "distorter",
        "competitor",
    )
    """Seats in the order in which they speak after the opener, again and again."""
    max_turns: Positive = 5
    """Replies after the opener."""
    max_reply_tokens: Positive = 24
    """Longest reply, in tokens."""
    window: Count = 0
    """Tokens of history that an agent sees; 0: as many as its model has room for."""
    openers: Annotated[str, Input("data")] = ""
    """File of openers (plain text, one a line, or JSON); empty: the built-in ones."""
    openers_holdout: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.25
    """Share of the openers that only evaluation uses."""


class SamplingConfig(Section):
    """How replies are drawn."""

    temperature: Rate = 1.0
    """Divides the logits."""
    top_k: Count = 50
    """Most probable tokens to draw from; 0: all."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Least probability mass of the tokens to draw from; 1: all."""


class RewardConfig(Section):
    """What a trained seat is paid for a reply."""

    judge: str = "competitor"
    """Seat whose model must find the reply hard to predict; not a trained one."""
    random_baseline: bool = True
    """Count surprise only up to what fluent text can earn, and less beyond."""
    ceiling_quantile: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    """What fluent text can earn: this quantile over fluent replies in foreign dialogues."""
    calibration_dialogues: Annotated[int, Field(ge=8)] = 64
    """Dialogues from which that is measured, before training."""


class AnchorConfig(Section):
    """What holds a trained seat at the model that it started as."""

    kl: NonNegative = 2.2
    """Weight of the KL divergence from the starting point, both in nats per token; 0: none."""
    kl_budget: Rate = 0.8
    """Nats per token beyond which the weight grows."""
    adapt_rate: Fraction = 0.1
    """Largest relative change of the weight in one iteration; 0: it stays."""


class DialogueRolloutConfig(RunnerConfig):
    """The processes that hold dialogues."""

    num_envs_per_env_runner: Positive = 32
    """Dialogues that one worker holds together, in one batch."""
    dialogues_per_iteration: Positive = 128
    """Dialogues of one iteration, over all workers."""
    sample_timeout_s: Rate = 600.0
    """Seconds that a worker may take for a request; then it is replaced."""


class DialoguePPOConfig(Section):
    """Proximal policy optimisation with one importance ratio per token."""

    learning_rate: Rate = 1e-4
    """Learning rate of AdamW for the language model, at the start."""
    learning_rate_final: NonNegative = 1e-5
    """Learning rate from `anneal_iterations` on; linear before."""
    anneal_iterations: Positive = 60
    """Iterations over which the learning rate goes to its final value."""
    value_learning_rate: Rate = 3e-3
    """Learning rate of AdamW for the value head; falls as the other does."""
    gamma: Discount = 1.0
    """Discount of a token."""
    gae_lambda: Fraction = 0.95
    """Lambda of the generalised advantage estimate, over the agent's own tokens."""
    clip: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Clip range of the probability ratio."""
    value_clip: Rate | None = None
    """Clip range of the value's change; absent: not clipped."""
    value_coefficient: NonNegative = 0.5
    """Weight of the value loss."""
    entropy_coefficient: NonNegative = 0.0
    """Weight of the entropy bonus."""
    num_epochs: Positive = 2
    """Passes over one iteration's dialogues."""
    minibatch_size: Positive = 32
    """Dialogues of one gradient step."""
    max_grad_norm: Rate = 1.0
    """Longest gradient; longer ones are scaled down."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay."""


class ReinforceConfig(Section):
    """REINFORCE (Williams 1992) with a leave-one-out baseline and Adafactor."""

    learning_rate: Rate = 5e-5
    """Learning rate of Adafactor, without relative steps."""
    minibatch_size: Positive = 16
    """Dialogues of one gradient step; every dialogue is used once."""
    max_grad_norm: Rate = 1.0
    """Longest gradient; longer ones are scaled down."""
    entropy_coefficient: NonNegative = 0.0
    """Weight of the entropy bonus."""


class PoolConfig(Section):
    """Earlier selves of a trained seat as partners."""

    seat: str = "competitor"
    """Seat that they take; a frozen one."""
    of: str = "distorter"
    """Trained seat whose earlier selves they are."""
    share: Fraction = 0.0
    """Share of the iterations in which one of them speaks; 0: no pool."""
    size: Positive = 4
    """Newest earlier selves to keep."""
    interval_iterations: Positive = 20
    """Iterations between them."""


class DistortStopConfig(Section):
    """When training ends."""

    max_iterations: Positive = 60
    """Iterations of the whole run."""


class DistortEvaluationConfig(Section):
    """Dialogues on held-out openers, during training and at its end."""

    episodes: Positive = 192
    """Dialogues of an evaluation."""
    interval_iterations: Count = 20
    """Iterations between evaluations during training; 0: only at the end."""
    seed: Count = 10_000
    """Seed of the evaluation's dialogues, apart from training's."""


class TranscriptConfig(Section):
    """What is kept and shown of the dialogues."""

    keep_every: Positive = 64
    """Every k-th dialogue of an iteration goes to `transcripts.jsonl`, the first one always."""
    show_interval: Count = 10
    """Iterations between dialogues printed while it trains; 0: none."""


class DialogueDistortConfig(ExperimentConfig):
    """Adversarial self-play: trained seats are paid for what a frozen one cannot predict."""

    READ_IF: ClassVar[tuple[ReadIf, ...]] = (
        *ExperimentConfig.READ_IF,
        ReadIf(("ppo.",), (When("algorithm", ("ppo",)),)),
        ReadIf(("reinforce.",), (When("algorithm", ("reinforce",)),)),
        ReadIf(
            ("pool.seat", "pool.of", "pool.size", "pool.interval_iterations"),
            (When("pool.share"),),
        ),
    )

    workflow: Literal["dialogue"] = "dialogue"
    algorithm: Literal["ppo", "reinforce"] = "ppo"
    experiment: ExperimentName = "dialogue/distort"
    seats: dict[SeatName, SeatConfig] = Field(
        default_factory=lambda: {
            "distorter": SeatConfig(trained=True),
            "competitor": SeatConfig(),
        }
    )
    """Who talks, by name."""
    dialogue: DialogueConfig = DialogueConfig()
    sampling: SamplingConfig = SamplingConfig()
    reward: RewardConfig = RewardConfig()
    anchor: AnchorConfig = AnchorConfig()
    rollouts: DialogueRolloutConfig = DialogueRolloutConfig()
    learner: LearnerConfig = LearnerConfig()
    ppo: DialoguePPOConfig = DialoguePPOConfig()
    reinforce: ReinforceConfig = ReinforceConfig()
    pool: PoolConfig = PoolConfig()
    stop: DistortStopConfig = DistortStopConfig()
    evaluation: DistortEvaluationConfig = DistortEvaluationConfig()
    transcripts: TranscriptConfig = TranscriptConfig()

    @property
    def trained_seats(self) -> tuple[str, ...]:
        """Names of the seats that learn, sorted."""
        return tuple(sorted(name for name, seat in self.seats.items() if seat.trained))

    @property
    def policy_names(self) -> tuple[str, ...]:
        """Those of the seats that learn."""
        return self.trained_seats

    @property
    def gradient(self) -> DialoguePPOConfig | ReinforceConfig:
        """The settings of the chosen algorithm."""
        return self.ppo if self.algorithm == "ppo" else self.reinforce

    @model_validator(mode="after")
    def _check_seats(self) -> Self:
        known = ", ".join(sorted(self.seats))
        for key, name in (
            *(("dialogue.order", name) for name in self.dialogue.order),
            ("reward.judge", self.reward.judge),
        ):
            if name not in self.seats:
                raise conflict(key, f"{key}: no seat {name!r}; the seats are {known}")
        if len(set(self.dialogue.order)) < len(self.dialogue.order):
            raise conflict(
                "dialogue.order",
                f"dialogue.order names a seat twice ({', '.join(self.dialogue.order)}); the order "
                f"is gone through again and again by itself",
            )
        if not self.trained_seats:
            raise conflict("seats", f"no seat learns; set trained = true for one of {known}")
        silent = sorted(set(self.trained_seats) - set(self.dialogue.order))
        if silent:
            raise conflict(
                "dialogue.order",
                f"dialogue.order leaves out {', '.join(silent)}, which would never learn; add it "
                f"or set trained = false",
            )
        if self.seats[self.reward.judge].trained:
            raise conflict(
                "reward.judge",
                f"reward.judge {self.reward.judge!r} is trained: its surprise would be a moving "
                f"target that it could lower by itself; name a frozen seat",
            )
        return self

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        rollouts, gradient = self.rollouts, self.gradient
        if gradient.minibatch_size > rollouts.dialogues_per_iteration:
            key = f"{self.algorithm}.minibatch_size"
            raise conflict(
                key,
                f"{key} {gradient.minibatch_size} is larger than "
                f"rollouts.dialogues_per_iteration {rollouts.dialogues_per_iteration}; lower the "
                f"first or raise the second",
            )
        return self

    @model_validator(mode="after")
    def _check_pool(self) -> Self:
        if not self.pool.share:
            return self
        if self.pool.seat not in self.dialogue.order or self.seats[self.pool.seat].trained:
            raise conflict(
                "pool.seat",
                f"pool.seat {self.pool.seat!r} must be a frozen seat of dialogue.order "
                f"({', '.join(self.dialogue.order)})",
            )
        if self.pool.of not in self.trained_seats:
            raise conflict(
                "pool.of",
                f"pool.of {self.pool.of!r} must be a trained seat "
                f"({', '.join(self.trained_seats)})",
            )
        return self
