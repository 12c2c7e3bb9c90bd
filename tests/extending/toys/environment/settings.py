"""The settings of the coin."""

from __future__ import annotations

from typing import Literal

from parley.platform.settings.sections import (
    ExperimentConfig,
    ExperimentName,
    Fraction,
    Positive,
    Section,
)


class ThrowConfig(Section):
    """How it is thrown."""

    heads: Fraction = 0.8
    """Probability of heads."""
    throws: Positive = 100
    """Throws of an iteration."""
    iterations: Positive = 5
    """Iterations of a run."""


class CoinConfig(ExperimentConfig):
    """A guess that gets better."""

    POLICY = "guesser"

    workflow: Literal["coin"] = "coin"
    algorithm: Literal["guess"] = "guess"
    experiment: ExperimentName = "coin/guess"
    throw: ThrowConfig = ThrowConfig()
