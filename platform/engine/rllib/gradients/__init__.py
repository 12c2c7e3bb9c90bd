"""The policy gradients that learners can follow; a row of `settings.experiments` names one."""

from __future__ import annotations

from typing import Any, Protocol, cast

from parley.platform.engine.rllib.gradients.policy_gradient import PolicyGradient
from parley.platform.settings.experiments import find_experiment, load_function


class GradientChoice(Protocol):
    """The part of an experiment that chooses."""

    @property
    def workflow(self) -> str:
        """The part of parley that runs it."""

    @property
    def algorithm(self) -> str:
        """How it learns; also the section of its settings."""


def make_gradient(config: GradientChoice, settings: Any) -> PolicyGradient[Any]:
    """The gradient of an experiment's algorithm.

    Args:
        config: the experiment.
        settings: the algorithm's section of it; each gradient says what it reads of it.
    """
    row = find_experiment(config.workflow, config.algorithm)
    assert row.gradient is not None, "asked for by what learns through RLlib"
    return cast("PolicyGradient[Any]", load_function(row.gradient)(settings))
