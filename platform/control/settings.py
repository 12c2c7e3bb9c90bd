"""The settings of the CartPole experiments."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from parley.platform.settings.inputs import Input
from parley.platform.settings.network import READ_WITH_FILTER, ModelConfig
from parley.platform.settings.rules import check_warmup
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
    SequencePolicy,
    When,
    WindowPolicy,
    conflict,
)
from parley.platform.settings.sweep import SweepableConfig
from parley.policies.token.table import LANGUAGE_MODELS

STEP_TOKENS = 5
"""Tokens of one CartPole time step: what led here, then four state tokens."""


class CartPoleEnvConfig(Section):
    """The carts and how their states become tokens."""

    num_carts: Positive = 1
    """Carts in one environment, each an agent of its own."""
    shared_policy: bool = True
    """One policy for all carts (true) or one each (false)."""
    num_bins: Annotated[int, Field(ge=2)] = 10
    """Bins of each of the four state dimensions."""
    window: Positive = 1
    """Time steps of history in one observation, five tokens each."""
    dither: Fraction = 0.0
    """Width of the subtractive dither, in bin widths."""
    max_steps: Positive = 500
    """Steps after which an episode is truncated."""

    @property
    def policy_names(self) -> tuple[str, ...]:
        """One policy for all carts, or one each."""
        carts = tuple(f"cart_{index}" for index in range(self.num_carts))
        return ("carts",) if self.shared_policy else carts


class RolloutConfig(RunnerConfig):
    """The processes that play the environment."""

    num_envs_per_env_runner: Positive = 16
    """Environments that one worker steps together."""
    rollout_fragment_length: Positive = 64
    """Steps of every environment in one iteration."""
    sample_timeout_s: Rate = 300.0
    """Seconds that a worker may take for a request; then it is replaced."""

    @property
    def batch_size(self) -> int:
        """Environment steps of one iteration."""
        return self.num_env_runners * self.num_envs_per_env_runner * self.rollout_fragment_length


class PPOConfig(Section):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347)."""

    learning_rate: Rate = 1e-3
    """Learning rate at the start."""
    learning_rate_final: NonNegative = 0.0
    """Learning rate from `anneal_env_steps` on; linear before."""
    anneal_env_steps: Positive = 100_000
    """Environment steps over which learning rate and entropy bonus go to their final values."""
    reward_scale: Rate = 0.05
    """Factor on the rewards that the learner sees; brings values near 1."""
    gamma: Discount = 0.99
    """Discount of a step."""
    gae_lambda: Fraction = 0.97
    """Lambda of the generalised advantage estimate."""
    clip: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Clip range of the probability ratio."""
    value_clip: Rate | None = None
    """Clip range of the value's change; absent: not clipped."""
    value_coefficient: NonNegative = 0.5
    """Weight of the value loss."""
    entropy_coefficient: NonNegative = 0.01
    """Weight of the entropy bonus at the start."""
    entropy_coefficient_final: NonNegative = 0.0
    """Weight of the entropy bonus from `anneal_env_steps` on; linear before."""
    num_epochs: Positive = 8
    """Passes over one iteration's batch."""
    minibatch_size: Positive = 512
    """Steps of one gradient step."""
    max_grad_norm: Rate = 0.5
    """Longest gradient; longer ones are scaled down."""
    filter_lr_scale: Rate = 5.0
    """Learning rate of the HMM filter's parameters, as a multiple of the others'."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay; never on the filter's parameters."""


class StopConfig(Section):
    """When training ends: whichever comes first."""

    max_env_steps: Positive = 100_000
    """Environment steps that the whole run may take, in whole iterations."""
    target_return: float | None = None
    """Mean return that counts as solved; absent: train to `max_env_steps`."""


class EvaluationConfig(Section):
    """Episodes played during training, and the measure of the finished policy."""

    episodes: Positive = 100
    """Episodes of the final evaluation."""
    interval_env_steps: Count = 20_000
    """Environment steps between evaluations during training; 0: only at the end."""
    selection_episodes: Positive = 20
    """Episodes of such an evaluation, by which the best checkpoint is chosen."""
    seed: Count = 10_000
    """Seed of the evaluation's environments, apart from training's."""


class CartPolePPOConfig(SweepableConfig):
    """CartPole as a token language, learned by PPO through RLlib."""

    SEARCHED = (
        "ppo.",
        "model.",
        "env.num_bins",
        "env.window",
        "env.dither",
        "rollouts.num_envs_per_env_runner",
        "rollouts.rollout_fragment_length",
    )
    FIXED = ("model.", "env.", "rollouts.", "ppo.weight_decay", "ppo.filter_lr_scale")
    SPACE_EXAMPLE = "ppo.learning_rate.grid = [1e-3, 2e-3]"

    READ_IF: ClassVar[tuple[ReadIf, ...]] = (
        *SweepableConfig.READ_IF,
        ReadIf(("model.",), (When("policy", LANGUAGE_MODELS),)),
        *READ_WITH_FILTER,
    )

    workflow: Literal["cartpole"] = "cartpole"
    algorithm: Literal["ppo"] = "ppo"
    experiment: ExperimentName = "cartpole/ppo"
    policy: WindowPolicy = "dhmm_gpt2"
    """The model; `parley list` names them."""
    init_from: Annotated[str, Input("checkpoint", only_at_start=True)] = ""
    """Run or checkpoint folder to start from; empty: from random weights."""
    evaluation: EvaluationConfig = EvaluationConfig()
    env: CartPoleEnvConfig = CartPoleEnvConfig()
    model: ModelConfig = ModelConfig()
    rollouts: RolloutConfig = RolloutConfig()
    learner: LearnerConfig = LearnerConfig()
    ppo: PPOConfig = PPOConfig()
    stop: StopConfig = StopConfig()

    @property
    def policy_names(self) -> tuple[str, ...]:
        """One for all carts, or one each."""
        return self.env.policy_names

    @model_validator(mode="after")
    def _check_window_and_batch(self) -> Self:
        if self.policy in LANGUAGE_MODELS:
            _check_context("env.window", self.env.window, self.model.max_len)
        batch_size = self.rollouts.batch_size
        if self.ppo.minibatch_size > batch_size:
            raise conflict(
                "ppo.minibatch_size",
                f"ppo.minibatch_size {self.ppo.minibatch_size} is larger than the batch of one "
                f"iteration, {batch_size} steps (num_env_runners x num_envs_per_env_runner x "
                f"rollout_fragment_length); lower the first or raise one of the others",
            )
        return self


class ImitationDataConfig(Section):
    """The episodes to imitate."""

    path: Annotated[str, Input("data", only_at_start=True)] = ""
    """File (`.parquet`, `.npz`) or folder of recorded episodes; empty: record new ones."""
    num_expert_episodes: Count = 128
    """Episodes of the hand-written controller."""
    expert_epsilon: Fraction = 0.5
    """Share of random actions in the expert's episodes; they lead to states worth knowing."""
    action_labels: Literal["expert", "executed"] = "expert"
    """What to predict after a state: what the expert would have done, or what was done."""
    num_random_episodes: Count = 32
    """Episodes of random actions."""
    num_workers: Positive = 2
    """Processes that record."""
    holdout: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of the episodes kept for evaluation."""

    @model_validator(mode="after")
    def _check_episodes(self) -> Self:
        if not self.path and self.num_expert_episodes + self.num_random_episodes < 2:
            raise conflict(
                "data.num_expert_episodes",
                "nothing to imitate: fewer than 2 episodes (num_expert_episodes + "
                "num_random_episodes) and no data.path",
            )
        num_episodes = self.num_expert_episodes + self.num_random_episodes
        if not self.path and not 0 < round((1 - self.holdout) * num_episodes) < num_episodes:
            raise conflict(
                "data.holdout",
                f"data.holdout {self.holdout} of {num_episodes} episodes leaves nothing to train "
                f"on or nothing to measure on; record more episodes or choose another share",
            )
        return self


class ImitationTrainingConfig(Section):
    """Supervised training on the recorded tokens."""

    num_steps: Positive = 1_000
    """Gradient steps."""
    batch_size: Positive = 64
    """Windows of one gradient step."""
    crop_steps: Positive = 4
    """Time steps of one training window, five tokens each; at least `env.window`."""
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
    eval_interval: Positive = 200
    """Gradient steps between evaluations on the held-out episodes."""

    _check_warmup = model_validator(mode="after")(check_warmup)


class CartPoleImitateConfig(ExperimentConfig):
    """CartPole episodes as sequences: a language model of states and actions."""

    POLICY = "carts"

    READ_IF: ClassVar[tuple[ReadIf, ...]] = (
        *ExperimentConfig.READ_IF,
        *READ_WITH_FILTER,
        ReadIf(
            (
                "data.num_expert_episodes",
                "data.expert_epsilon",
                "data.num_random_episodes",
                "data.num_workers",
            ),
            (When("data.path", ("",)),),
        ),
        ReadIf(("evaluation.interval_env_steps",), instead="set training.eval_interval"),
    )

    workflow: Literal["cartpole"] = "cartpole"
    algorithm: Literal["imitate"] = "imitate"
    experiment: ExperimentName = "cartpole/imitate"
    policy: SequencePolicy = "dhmm_gpt2"
    """The model; `parley list` names them."""
    evaluation: EvaluationConfig = EvaluationConfig()
    env: CartPoleEnvConfig = CartPoleEnvConfig()
    model: ModelConfig = ModelConfig()
    learner: LearnerConfig = LearnerConfig()
    data: ImitationDataConfig = ImitationDataConfig()
    training: ImitationTrainingConfig = ImitationTrainingConfig()

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        _check_context("env.window", self.env.window, self.model.max_len)
        _check_context("training.crop_steps", self.training.crop_steps, self.model.max_len)
        if self.training.crop_steps < self.env.window:
            raise conflict(
                "training.crop_steps",
                f"training.crop_steps {self.training.crop_steps} is shorter than env.window "
                f"{self.env.window}: the policy would read windows longer than any it was trained "
                f"on; raise it to at least {self.env.window}",
            )
        return self


def _check_context(key: str, num_steps: int, max_len: int) -> None:
    """A window of `num_steps` steps and the action that answers it must fit into the model."""
    num_tokens = STEP_TOKENS * num_steps + 1
    if num_tokens > max_len:
        raise conflict(
            key,
            f"{key} {num_steps} needs {num_tokens} tokens ({STEP_TOKENS} a step and one for the "
            f"action) but model.max_len is {max_len}; lower {key} to at most "
            f"{(max_len - 1) // STEP_TOKENS} or raise model.max_len to at least {num_tokens}",
        )
