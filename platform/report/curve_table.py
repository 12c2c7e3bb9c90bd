"""The table of learning curves: which figures of `metrics.jsonl` are drawn together, and how named.

Rows stand in the order of a report; `report_curves` looks them up and draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    workflow: str = ""
    """Of the runs in which the keys mean this; empty: of all."""
    algorithm: str = ""
    """Likewise; a name behind `!` stands for all others."""

    def is_of(self, settings: Mapping[str, Any]) -> bool:
        """Whether a run with these settings has the curve."""
        algorithm = settings.get("algorithm", "")
        is_named = self.algorithm.removeprefix("!") in ("", algorithm)
        fits = is_named != self.algorithm.startswith("!")
        return self.workflow in ("", settings.get("workflow", "")) and fits


NATS = "nats per token"
SOLVED_RETURN = 475.0
"""What gymnasium counts as solved for CartPole-v1 (its `reward_threshold`)."""

DPO_CURVES = (
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
        workflow="dialogue",
        algorithm="dpo",
    ),
    Curve("Length of responses", "words, greedy", {"response_words": "held-out prompts"}, low=0.0),
    Curve(
        "Length of the pairs",
        "tokens",
        {"response_tokens_chosen": "chosen", "response_tokens_rejected": "rejected"},
        low=0.0,
    ),
)
"""Of runs of `dialogue/dpo`."""

CURVES = (
    *DPO_CURVES,
    Curve(
        "Return",
        "",
        {"mean_return": "training, mean of recent episodes", "eval_return": "greedy, held out"},
        low=0.0,
        setting="stop.target_return",
        level_label="stops at",
        levels=(Reference("solved", SOLVED_RETURN),),
    ),
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
    Curve("Reward", "per trace", {"reward": "as drawn"}, workflow="trace"),
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
        workflow="dialogue",
        algorithm="!dpo",
    ),
    Curve(
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
    ),
    Curve(
        "Repetition",
        "share",
        {
            "repetition_rate": "4-grams that stood earlier in the reply",
            "repeated_replies": "replies that were said before",
            "repeated_responses": "responses that were given before, held-out prompts",
            "looping_words": "runs of four words said before in the response, likewise",
        },
        low=0.0,
    ),
    Curve(
        "Reply length",
        "tokens",
        {"reply_length": "training", "eval_reply_length": "held-out openers"},
        low=0.0,
    ),
    Curve("Entropy of the policy", "nats", {"entropy": "mean"}, low=0.0),
    Curve(
        "Reward and its parts",
        NATS,
        {"reward": "reward", "counted_nll": "counted surprise", "kl_penalty": "penalty for KL"},
        workflow="dialogue",
    ),
    Curve("Weight of the anchor", "", {"anchor_kl": "of the KL"}, low=0.0),
    Curve(
        "Loss",
        NATS,
        {
            "train_loss": "training",
            "heldout_loss": "held out",
            "heldout_loss_state": "held out, states",
            "heldout_loss_action": "held out, actions",
            "heldout_loss_done": "held out, ends",
        },
    ),
    Curve(
        "Loss of the language model",
        NATS,
        {"train_nats_per_token": "training", "selection_nats_per_token": "held out"},
    ),
    Curve("Perplexity", "per token", {"selection_perplexity": "held out"}),
    Curve("Policy loss", "", {"policy_loss": "policy"}),
    Curve("Value loss", "", {"value_loss": "value"}, low=0.0),
    Curve(
        "KL of an update",
        "nats",
        {"kl": "new policy from old"},
        low=0.0,
        workflow="cartpole",
    ),
    Curve("KL of an update", "nats", {"kl": "new policy from old"}, low=0.0, workflow="trace"),
    Curve("Clipped ratios", "share", {"clip_fraction": "beyond the clip range"}, low=0.0),
    Curve(
        "Decisions where no action is likeliest",
        "share, greedy, unmasked",
        {"other_token_rate": "held-out episodes"},
        low=0.0,
        high=1.0,
    ),
    Curve("Speed", "tokens per second", {"tokens_per_s": "tokens"}, low=0.0),
    Curve(
        "Speed",
        "environment steps per second",
        {"steps_per_s": "environment steps"},
        low=0.0,
        workflow="cartpole",
        algorithm="ppo",
    ),
    Curve(
        "Speed",
        "replies per second of sampling and learning",
        {"env_steps_per_s": "replies"},
        low=0.0,
        workflow="dialogue",
    ),
    Curve(
        "Speed",
        "gradient steps per second",
        {"steps_per_s": "gradient steps"},
        low=0.0,
        algorithm="!ppo",
    ),
    Curve("Speed", "pairs per second", {"pairs_per_s": "preference pairs"}, low=0.0),
    Curve(
        "Sampling outside the models",
        "share of its time",
        {"outside_forward": "not in forward passes"},
        low=0.0,
    ),
    Curve(
        "Time of an iteration", "seconds", {"sample_s": "sampling", "learn_s": "learning"}, low=0.0
    ),
    Curve("Time of an evaluation", "seconds", {"eval_seconds": "beside training"}, low=0.0),
    Curve("Learning rate", "", {"learning_rate": "of the newest step"}, low=0.0),
    Curve("Length of the gradient", "before it is cut", {"grad_norm": "mean"}, low=0.0),
)
"""In the order of the report; the style sheet has five colours for the lines of one."""
