"""The learning curves of self-play."""

from __future__ import annotations

from parley.platform.report.curve_table import (
    CLIPPED_RATIOS,
    DIVERSITY,
    EFFORT,
    ENTROPY,
    NATS,
    POLICY_LOSS,
    REPETITION,
    TOKEN_SPEED,
    VALUE_LOSS,
    Curve,
)

CURVES = (
    Curve(
        "Surprise of the competitor",
        NATS,
        {
            "competitor_nll": "its NLL of the replies, training",
            "counted_nll": "of it counted in the reward",
            "eval_competitor_nll": "its NLL, held-out openers",
        },
    ),
    Curve(
        "KL to the starting point",
        NATS,
        {
            "kl": "estimate, training",
            "eval_kl": "exact, held-out openers",
            "eval_kl_estimate": "estimate, held-out openers",
        },
        setting="anchor.kl_budget",
        level_label="budget",
    ),
    DIVERSITY,
    REPETITION,
    Curve(
        "Reply length",
        "tokens",
        {"reply_length": "training", "eval_reply_length": "held-out openers"},
        low=0.0,
    ),
    ENTROPY,
    Curve(
        "Reward and its parts",
        NATS,
        {"reward": "reward", "counted_nll": "counted surprise", "kl_penalty": "penalty for KL"},
    ),
    Curve("Weight of the anchor", "", {"anchor_kl": "of the KL"}, low=0.0),
    POLICY_LOSS,
    VALUE_LOSS,
    CLIPPED_RATIOS,
    TOKEN_SPEED,
    Curve(
        "Speed",
        "replies per second of sampling and learning",
        {"env_steps_per_s": "replies"},
        low=0.0,
    ),
    Curve(
        "Sampling outside the models",
        "share of its time",
        {"outside_forward": "not in forward passes"},
        low=0.0,
    ),
    *EFFORT,
)
"""In the order of the report; the style sheet has five colours for the lines of one."""
