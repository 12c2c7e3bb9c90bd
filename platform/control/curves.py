"""The learning curves of CartPole."""

from __future__ import annotations

from parley.platform.report.charts import Reference
from parley.platform.report.curve_table import (
    EFFORT,
    ENTROPY,
    GRADIENT_STEP_SPEED,
    TOKEN_LOSS,
    TOKEN_SPEED,
    UPDATES,
    Curve,
)

SOLVED_RETURN = 475.0
"""What gymnasium counts as solved for CartPole-v1 (its `reward_threshold`)."""

_RETURN = Curve(
    "Return",
    "",
    {"mean_return": "training, mean of recent episodes", "eval_return": "greedy, held out"},
    low=0.0,
    setting="stop.target_return",
    level_label="stops at",
    levels=(Reference("solved", SOLVED_RETURN),),
)
_OTHER_TOKENS = Curve(
    "Decisions where no action is likeliest",
    "share, greedy, unmasked",
    {"other_token_rate": "held-out episodes"},
    low=0.0,
    high=1.0,
)
_STEP_SPEED = Curve(
    "Speed", "environment steps per second", {"steps_per_s": "environment steps"}, low=0.0
)

PPO_CURVES = (_RETURN, ENTROPY, *UPDATES, _OTHER_TOKENS, _STEP_SPEED, *EFFORT)
IMITATION_CURVES = (
    *(_RETURN, TOKEN_LOSS, _OTHER_TOKENS),
    *(TOKEN_SPEED, GRADIENT_STEP_SPEED, *EFFORT),
)
"""In the order of the report; the style sheet has five colours for the lines of one."""
