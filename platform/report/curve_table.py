"""What a learning curve is, and those that several workflows have.

A workflow lists its own in a `curves.py`, in the order of its report; `curves` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parley.platform.report.charts import Reference


@dataclass(frozen=True)
class Curve:
    """Figures that share a pair of axes."""

    title: str
    unit: str
    keys: Mapping[str, str]
    """Key of a row -> its label in the legend."""
    low: float | None = None
    high: float | None = None
    setting: str = ""
    """Dotted key of the settings whose value is drawn as a level, if it is there."""
    level_label: str = ""
    levels: tuple[Reference, ...] = ()
    """Levels of all runs."""


NATS = "nats per token"

ENTROPY = Curve("Entropy of the policy", "nats", {"entropy": "mean"}, low=0.0)
DIVERSITY = Curve(
    "Diversity: distinct n-grams",
    "share",
    {
        "distinct_1": "distinct-1",
        "distinct_2": "distinct-2",
        "distinct_3": "distinct-3",
        "eval_distinct_2": "distinct-2, held-out openers",
    },
    low=0.0,
    high=1.0,
)
REPETITION = Curve(
    "Repetition",
    "share",
    {
        "repetition_rate": "4-grams that stood earlier in the reply",
        "repeated_replies": "replies that were said before",
        "repeated_responses": "responses that were given before, held-out prompts",
        "looping_words": "runs of four words said before in the response, likewise",
    },
    low=0.0,
)
TOKEN_LOSS = Curve(
    "Loss",
    NATS,
    {
        "train_loss": "training",
        "heldout_loss": "held out",
        "heldout_loss_state": "held out, states",
        "heldout_loss_action": "held out, actions",
        "heldout_loss_done": "held out, ends",
    },
)
POLICY_LOSS = Curve("Policy loss", "", {"policy_loss": "policy"})
VALUE_LOSS = Curve("Value loss", "", {"value_loss": "value"}, low=0.0)
UPDATE_KL = Curve(
    "KL of an update",
    "nats",
    {"kl": "new policy from old"},
    low=0.0,
)
CLIPPED_RATIOS = Curve(
    "Clipped ratios", "share", {"clip_fraction": "beyond the clip range"}, low=0.0
)
TOKEN_SPEED = Curve("Speed", "tokens per second", {"tokens_per_s": "tokens"}, low=0.0)
GRADIENT_STEP_SPEED = Curve(
    "Speed",
    "gradient steps per second",
    {"steps_per_s": "gradient steps"},
    low=0.0,
)
ITERATION_TIME = Curve(
    "Time of an iteration", "seconds", {"sample_s": "sampling", "learn_s": "learning"}, low=0.0
)
EVALUATION_TIME = Curve(
    "Time of an evaluation", "seconds", {"eval_seconds": "beside training"}, low=0.0
)
LEARNING_RATE = Curve("Learning rate", "", {"learning_rate": "of the newest step"}, low=0.0)
GRADIENT_LENGTH = Curve(
    "Length of the gradient", "before it is cut", {"grad_norm": "mean"}, low=0.0
)

UPDATES = (POLICY_LOSS, VALUE_LOSS, UPDATE_KL, CLIPPED_RATIOS)
"""Of what learns by a policy gradient."""
EFFORT = (ITERATION_TIME, EVALUATION_TIME, LEARNING_RATE, GRADIENT_LENGTH)
"""Of all, at the end."""
SHARED_CURVES = (ENTROPY, TOKEN_LOSS, *UPDATES, TOKEN_SPEED, GRADIENT_STEP_SPEED, *EFFORT)
"""Of a run without curves of its own."""
