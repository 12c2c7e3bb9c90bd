"""The learning curves of pretraining."""

from __future__ import annotations

from parley.platform.report.curve_table import EFFORT, GRADIENT_STEP_SPEED, NATS, TOKEN_SPEED, Curve

CURVES = (
    Curve(
        "Loss of the language model",
        NATS,
        {"train_nats_per_token": "training", "selection_nats_per_token": "held out"},
    ),
    Curve("Perplexity", "per token", {"selection_perplexity": "held out"}),
    TOKEN_SPEED,
    GRADIENT_STEP_SPEED,
    *EFFORT,
)
"""In the order of the report; the style sheet has five colours for the lines of one."""
