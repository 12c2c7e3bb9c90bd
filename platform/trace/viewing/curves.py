"""The learning curves of traces."""

from __future__ import annotations

from parley.platform.report.curve_table import (
    EFFORT,
    ENTROPY,
    GRADIENT_STEP_SPEED,
    TOKEN_LOSS,
    TOKEN_SPEED,
    UPDATES,
    Curve,
)

CURVES = (
    Curve(
        "Exact traces",
        "share",
        {
            "sampled_exact_match": "as drawn, training",
            "exact_match": "held out, all trained sizes",
            "least_exact_match": "held out, worst size",
        },
        low=0.0,
        high=1.0,
        setting="training.stop_exact_match",
        level_label="stop at",
    ),
    Curve(
        "Traces with an illegal step",
        "share",
        {"sampled_illegal_rate": "as drawn, training", "illegal_rate": "held out"},
        low=0.0,
    ),
    Curve(
        "Above the optimal predictor",
        "nats per label",
        {"nats_over_optimal": "held-out traces"},
    ),
    Curve("Reward", "per trace", {"reward": "as drawn"}),
    ENTROPY,
    TOKEN_LOSS,
    *UPDATES,
    TOKEN_SPEED,
    GRADIENT_STEP_SPEED,
    *EFFORT,
)
"""In the order of the report; the style sheet has five colours for the lines of one."""
