"""The learning curves of preference optimisation."""

from __future__ import annotations

from parley.platform.report.curve_table import (
    DIVERSITY,
    EFFORT,
    ENTROPY,
    GRADIENT_STEP_SPEED,
    NATS,
    REPETITION,
    TOKEN_SPEED,
    Curve,
)

CURVES = (
    Curve(
        "Cooperative responses",
        "share",
        {
            "cooperative_rate": "by the judge, greedy, held-out prompts",
            "score": "score that chooses",
        },
        low=0.0,
        high=1.0,
    ),
    Curve(
        "Preference accuracy",
        "share",
        {
            "accuracy": "training",
            "preference_accuracy": "held out",
            "preference_accuracy_length_controlled": "held out, length-controlled",
        },
        high=1.0,
    ),
    Curve("DPO loss", "nats per pair", {"loss": "training", "eval_loss": "held out"}, low=0.0),
    Curve(
        "NLL of the chosen responses",
        "nats per token",
        {"chosen_nll": "training", "eval_chosen_nll": "held out"},
    ),
    Curve(
        "Objective",
        "DPO loss + weight \N{MULTIPLICATION SIGN} NLL of the chosen",
        {"objective": "training", "eval_objective": "held out"},
    ),
    Curve(
        "Implicit rewards, training",
        "beta x nats",
        {"margin": "margin", "reward_chosen": "chosen", "reward_rejected": "rejected"},
    ),
    Curve(
        "Log-probabilities, training",
        "nats per response",
        {"log_prob_chosen": "chosen", "log_prob_rejected": "rejected"},
    ),
    Curve(
        "Likelier than under the reference",
        NATS,
        {
            "eval_log_ratio_chosen": "chosen, held out",
            "eval_log_ratio_rejected": "rejected, held out",
            "log_ratio_chosen": "chosen, training",
            "log_ratio_rejected": "rejected, training",
        },
    ),
    Curve(
        "Perplexity of the chosen responses",
        "per token, held out",
        {"chosen_perplexity": "tuned", "chosen_perplexity_reference": "reference"},
    ),
    Curve(
        "KL to the starting point",
        NATS,
        {"kl": "exact, drawn responses to held-out prompts"},
        low=0.0,
    ),
    Curve("Length of responses", "words, greedy", {"response_words": "held-out prompts"}, low=0.0),
    Curve(
        "Length of the pairs",
        "tokens",
        {"response_tokens_chosen": "chosen", "response_tokens_rejected": "rejected"},
        low=0.0,
    ),
    DIVERSITY,
    REPETITION,
    ENTROPY,
    TOKEN_SPEED,
    GRADIENT_STEP_SPEED,
    Curve("Speed", "pairs per second", {"pairs_per_s": "preference pairs"}, low=0.0),
    *EFFORT,
)
"""In the order of the report; the style sheet has five colours for the lines of one."""
