"""The policy gradients that learners can follow; a new one is a file here and a row."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from parley.platform.engine.rllib.gradients.policy_gradient import PolicyGradient

GRADIENTS = {
    "ppo": "parley.platform.engine.rllib.gradients.ppo:PPO",
    "reinforce": "parley.platform.engine.rllib.gradients.reinforce:Reinforce",
}
"""Algorithm -> `module:class`; what one needs is imported for that one alone."""


def make_gradient(algorithm: str, settings: Any) -> PolicyGradient[Any]:
    """The gradient of an experiment.

    Args:
        algorithm: a row of `GRADIENTS`.
        settings: its section of the experiment; each gradient says what it reads of it.
    """
    module, _, name = GRADIENTS[algorithm].partition(":")
    return cast("PolicyGradient[Any]", getattr(import_module(module), name)(settings))
