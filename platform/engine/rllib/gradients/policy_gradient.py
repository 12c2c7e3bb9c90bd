"""What a policy gradient is: how rewards become credit, and credit a loss of tokens.

    rewards ──credit──► advantages of tokens ──token_losses──► losses of tokens ──average──► loss

Nobody else knows which one runs: algorithms ask for `credit`, batches carry its columns, learners
ask for the rest. A gradient is a function of its settings alone and travels to the learners.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW, Optimizer

from parley.platform.records import ParameterGroup

ACTIONS, LOG_PROBS, VALUES = "actions", "log_probs", "values"
"""Columns of a batch: what was drawn, its log-probability then, and the value of the state then."""
ADVANTAGES, VALUE_TARGETS = "advantages", "value_targets"
"""Columns of credit; the second one where values are learned."""
ADAM_EPSILON = 1e-5

Floats = NDArray[np.float32]
Credit = Mapping[str, list[Floats]]
"""Column -> float32 [n] for each stretch of n tokens."""


@dataclass(frozen=True)
class Stretch:
    """n tokens that a policy drew in one go: a reply, a trace, steps of a cart.

    In a dialogue of opener, reply, answer, reply, the two replies of one seat are two stretches of
    the same episode, at the places 0 and 1; `next_value` of the first is the first of the second's
    `values`. The state after a stretch is the next one in which the policy draws.
    """

    episode: int
    """Equal for the stretches of one episode, which stand one after the other."""
    place: int
    """How many stretches of the episode came before."""
    group: Hashable
    """Equal for episodes that began alike, which may be compared with each other."""
    role: str
    """Who drew: a seat, an agent."""
    rewards: Floats
    """[n]."""
    total: float
    """What the whole stretch earned."""
    values: Floats
    """[n]: of the state before each token, as the policy saw it."""
    next_value: float
    """Of the state after the last token; 0 where the episode ended with it."""


@dataclass(frozen=True)
class Drawn:
    """N tokens of R rows, row by row, as they were drawn: a minibatch."""

    actions: Tensor
    """int64 [N]."""
    log_probs: Tensor
    """[N], of the policy that drew them."""
    values: Tensor
    """[N], of the states before them, at that time."""
    advantages: Tensor
    """[N]."""
    value_targets: Tensor | None
    """[N], where values are learned."""
    valid: Tensor
    """bool [R] or [R, A]: which places of the rows the N tokens are; gives the rows' lengths."""


@dataclass(frozen=True)
class TokenLosses:
    """The policy's loss at each of N tokens."""

    losses: Tensor
    """[N], with gradients."""
    clipped: Tensor | None = None
    """bool [N]: where the importance ratio has left its range; None: there is no range."""


class GradientSettings(Protocol):
    """What every gradient's section of an experiment holds."""

    learning_rate: float
    max_grad_norm: float


AnySettings = TypeVar("AnySettings", bound=GradientSettings)


class PolicyGradient(ABC, Generic[AnySettings]):
    """One way to learn from rewards; subclasses give the formula, the paper and the assumption.

    Args:
        settings: the section of the experiment.
    """

    needs_critic: ClassVar[bool] = False
    """Whether state values are learned, by `value_coefficient` and `value_clip` of its settings."""

    def __init__(self, settings: AnySettings) -> None:
        self.settings = settings

    @property
    def num_epochs(self) -> int:
        """Passes over one iteration's batch: 1 where nothing makes up for a changed policy."""
        return 1

    @abstractmethod
    def credit(self, stretches: Sequence[Stretch]) -> Credit:
        """What each token is worth, among all that one module drew in an iteration."""

    @abstractmethod
    def token_losses(self, log_probs: Tensor, drawn: Drawn) -> TokenLosses:
        """The loss of each token, given its log-probability [N] under the policy of now."""

    def average(self, losses: Tensor, drawn: Drawn) -> Tensor:
        """The loss of a minibatch: the mean over its tokens [N]."""
        return losses.mean()

    def count(self, valid: Tensor) -> Tensor:
        """How many parts `average` is the mean of; learners weigh their shares by it."""
        return valid.sum()

    def make_optimiser(self, groups: list[ParameterGroup]) -> Optimizer:
        """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101); groups say where weights decay."""
        return AdamW(
            groups,
            lr=self.settings.learning_rate,
            eps=ADAM_EPSILON,
            weight_decay=0.0,
            fused=True,
        )
