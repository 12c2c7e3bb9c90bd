"""The settings of the trace experiments: one class for every language and both ways to learn."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from parley.platform.settings.inputs import Input
from parley.platform.settings.network import READ_WITH_FILTER, ModelConfig
from parley.platform.settings.rules import check_warmup
from parley.platform.settings.sections import (
    Count,
    Discount,
    ExperimentName,
    Fraction,
    LearnerConfig,
    NonNegative,
    Positive,
    Rate,
    ReadIf,
    RunnerConfig,
    Section,
    SequencePolicy,
    When,
    conflict,
)
from parley.platform.settings.sweep import SweepableConfig

if TYPE_CHECKING:
    from parley.envs.trace.language import Language

Option = str | bool | int | float


class LanguageConfig(Section):
    """Which language, and how large its inputs are."""

    SHORT_KEY: ClassVar[str] = "name"

    name: str = "addition"
    """A row of `parley.envs.trace.languages`."""
    options: dict[str, Option] = Field(default_factory=dict)
    """Arguments of the language's class, such as `order = "reversed"`; absent ones keep their
    defaults."""
    min_size: Positive = 3
    """Smallest input to train on (digits, elements, moves, tokens of a source)."""
    max_size: Positive = 3
    """Largest input to train on."""

    @property
    def sizes(self) -> range:
        """All sizes to train on."""
        return range(self.min_size, self.max_size + 1)

    def build(self) -> Language:
        """The language.

        Raises:
            ValueError: an unknown name or option, or a value outside its range.
        """
        # Languages load numpy and gymnasium, which `--help` can do without.
        from parley.envs.trace.languages import build_language

        return build_language(self.name, self.options)


class TraceModelConfig(ModelConfig):
    """The transformer and its belief filter, for whole traces."""

    positions: Literal["learned", "rotary", "none"] = "learned"
    """How attention knows where a token stands; `max_len` limits only learned positions."""
    filter_layers: Annotated[tuple[Count, ...], Field(strict=False)] = (0,)
    """The blocks that carry a belief filter."""
    snap_transitions: bool = False
    """Outside training the program counters' transitions become one-hot."""


class StreamConfig(Section):
    """The endless stream of traces, made by Ray workers."""

    num_workers: Positive = 2
    """Processes that make traces."""
    block_batches: Positive = 8
    """Batches that one worker makes at a time, out of one draw sorted by length."""
    prefetch_blocks: Positive = 4
    """Blocks that are asked for ahead of the learner."""
    holdout: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of all inputs, chosen by their hash, that never appear in training."""


class NextTokenConfig(Section):
    """Next-token training on true traces."""

    num_steps: Positive = 4_000
    """Gradient steps at most."""
    batch_tokens: Positive = 4_096
    """Tokens of one gradient step, padding included."""
    learning_rate: Rate = 3e-3
    """Peak learning rate."""
    matrix_learning_rate: Rate | None = None
    """Peak learning rate of Muon, which then takes the matrices inside the blocks; absent: AdamW
    takes them, too."""
    warmup_steps: Count = 100
    """Gradient steps to reach it; a cosine to zero follows."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay; never on the filter's parameters."""
    filter_lr_scale: Rate = 5.0
    """Learning rate of the HMM filter's parameters, as a multiple of the others'."""
    max_grad_norm: Rate = 1.0
    """Longest gradient; longer ones are scaled down."""
    mutation_noise: NonNegative = 0.0
    """Scale of the Gumbel noise on the program counters' transitions at the end of its ramp."""
    mutation_loss: Rate = 0.1
    """The ramp begins when the training loss of an evaluation interval is below this (nats)."""
    mutation_ramp_steps: Positive = 500
    """Gradient steps of the ramp, from no noise to all of it."""
    eval_interval: Positive = 200
    """Gradient steps between evaluations on held-out inputs."""
    stop_exact_match: Fraction | None = None
    """Stop when so much of the selection inputs of every trained size is answered exactly, twice
    in a row; absent: train to the end."""

    _check_warmup = model_validator(mode="after")(check_warmup)


class TraceEvaluationConfig(Section):
    """Held-out inputs, and those beyond the trained sizes."""

    sizes: Annotated[tuple[Positive, ...], Field(strict=False)] = ()
    """Sizes of the final evaluation; empty: the trained ones."""
    inputs_per_size: Positive = 1_000
    """Held-out inputs of each size in the final evaluation."""
    selection_inputs: Positive = 128
    """Held-out inputs, spread over the trained sizes, at every evaluation during training."""
    batch_tokens: Positive = 65_536
    """Tokens that are written together."""
    seed: Count = 10_000
    """Seed of the evaluation's inputs."""


class TraceRolloutConfig(RunnerConfig):
    """The processes that write traces for PPO."""

    traces_per_env_runner: Positive = 64
    """Traces that one worker writes in one iteration."""
    sample_timeout_s: Rate = 300.0
    """Seconds that a worker may take for a request; then it is replaced."""


class TracePPOConfig(Section):
    """Proximal policy optimisation on tokens (Schulman et al. 2017, arXiv:1707.06347)."""

    learning_rate: Rate = 1e-4
    """Learning rate at the start; linear to zero over `num_iterations`."""
    num_iterations: Positive = 50
    """Iterations of sampling and learning."""
    gamma: Discount = 1.0
    """Discount of a token."""
    gae_lambda: Fraction = 0.95
    """Lambda of the generalised advantage estimate."""
    clip: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Clip range of the probability ratio."""
    value_clip: Rate | None = None
    """Clip range of the value's change; absent: not clipped."""
    value_coefficient: NonNegative = 0.5
    """Weight of the value loss."""
    entropy_coefficient: NonNegative = 0.0
    """Weight of the entropy bonus."""
    num_epochs: Positive = 4
    """Passes over one iteration's traces."""
    minibatch_traces: Positive = 32
    """Traces of one gradient step."""
    max_grad_norm: Rate = 0.5
    """Longest gradient; longer ones are scaled down."""
    filter_lr_scale: Rate = 1.0
    """Learning rate of the HMM filter's parameters, as a multiple of the others'."""
    eval_interval: Positive = 10
    """Iterations between evaluations on held-out inputs."""


class TraceConfig(SweepableConfig):
    """An algorithm as a token language, learned from true traces or by PPO."""

    POLICY = "tracer"
    SEARCHED = ("ppo.",)
    FIXED = ("ppo.filter_lr_scale",)
    SPACE_EXAMPLE = "ppo.learning_rate.grid = [3e-5, 1e-4]"

    READ_IF: ClassVar[tuple[ReadIf, ...]] = (
        *SweepableConfig.READ_IF,
        *READ_WITH_FILTER,
        ReadIf(
            (
                "training.",
                "stream.num_workers",
                "stream.block_batches",
                "stream.prefetch_blocks",
            ),
            (When("algorithm", ("next_token",)),),
        ),
        ReadIf(("ppo.", "rollouts.", "sweep."), (When("algorithm", ("ppo",)),)),
        ReadIf(
            ("training.mutation_loss", "training.mutation_ramp_steps"),
            (When("training.mutation_noise"),),
        ),
        ReadIf(("model.max_len",), (When("model.positions", ("learned",)),)),
    )

    workflow: Literal["trace"] = "trace"
    algorithm: Literal["next_token", "ppo"] = "next_token"
    experiment: ExperimentName = "trace/addition"
    policy: SequencePolicy = "dhmm_gpt2"
    """The model; `parley list` names them."""
    init_from: Annotated[str, Input("checkpoint", only_at_start=True)] = ""
    """Run or checkpoint folder to start from; empty: from random weights."""
    language: LanguageConfig = LanguageConfig()
    model: TraceModelConfig = TraceModelConfig()
    stream: StreamConfig = StreamConfig()
    training: NextTokenConfig = NextTokenConfig()
    rollouts: TraceRolloutConfig = TraceRolloutConfig()
    ppo: TracePPOConfig = TracePPOConfig()
    learner: LearnerConfig = LearnerConfig()
    evaluation: TraceEvaluationConfig = TraceEvaluationConfig()

    @property
    def evaluation_sizes(self) -> tuple[int, ...]:
        """Sizes of the final evaluation."""
        return self.evaluation.sizes or tuple(self.language.sizes)

    @classmethod
    def follow_choices(
        cls, before: dict[str, object], after: dict[str, object], chosen: Set[str]
    ) -> dict[str, object]:
        """Another language leaves behind the options that only the file's language knows."""
        former, language = (_language_table(table) for table in (before, after))
        name, options = language["name"], language.get("options")
        if former["name"] == name or not isinstance(options, dict):
            return after
        # Languages load numpy, which settings that keep theirs can do without.
        from parley.envs.trace.languages import option_defaults

        left = option_defaults(former["name"]).keys() - option_defaults(name).keys()
        left -= {key.removeprefix("language.options.") for key in chosen}
        kept = {option: value for option, value in options.items() if option not in left}
        return after | {"language": language | {"options": kept}}

    @model_validator(mode="after")
    def _check_language(self) -> Self:
        sizes = self.language
        if sizes.min_size > sizes.max_size:
            raise conflict(
                "language.min_size",
                f"language.min_size {sizes.min_size} is larger than language.max_size "
                f"{sizes.max_size}; lower the first or raise the second",
            )
        try:
            language = self.language.build()
        except ValueError as error:
            raise conflict("language", f"language: {error}") from None
        self._check_sizes(language, "language.min_size", [sizes.min_size])
        self._check_sizes(language, "language.max_size", [sizes.max_size])
        self._check_sizes(language, "evaluation.sizes", self.evaluation.sizes)
        return self

    def _check_sizes(self, language: Language, key: str, sizes: Sequence[int]) -> None:
        for size in sizes:
            try:
                num_tokens = language.num_tokens(size)
            except ValueError as error:
                raise conflict(key, f"{key} {size}: {error}") from None
            if self.model.positions == "learned" and num_tokens > self.model.max_len:
                raise conflict(
                    key,
                    f"{key} {size} of {self.language.name} needs {num_tokens} tokens but "
                    f"model.max_len is {self.model.max_len}; raise model.max_len to at least "
                    f"{num_tokens}, or leave this size out",
                )


def _language_table(table: dict[str, object]) -> dict[str, object]:
    """The `[language]` of settings that are not checked yet, its name as by default at least."""
    language = table.get("language")
    named: dict[str, object] = {"name": LanguageConfig().name}
    return named | language if isinstance(language, dict) else named
