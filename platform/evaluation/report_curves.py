"""Which figures of `metrics.jsonl` are drawn together, and how they are called.

A new figure needs no row here: what no curve claims gets a chart of its own, under its key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from parley.platform.evaluation.report_charts import Chart, Line, Point, Reference

Row = Mapping[str, object]


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

DPO_CURVES = (
    Curve(
        "Cooperative responses",
        "share",
        {"cooperative_rate": "by the judge, greedy, held-out prompts", "score": "score"},
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
        "nats per token, held out",
        {"eval_log_ratio_chosen": "chosen", "eval_log_ratio_rejected": "rejected"},
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
        level_label="target",
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
        {"kl": "training: estimate by drawn tokens", "eval_kl": "exact, held-out openers"},
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
    Curve("Entropy of the policy", "nats", {"entropy": "of what is drawn from"}, low=0.0),
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
        "Speed",
        "per second",
        {
            "tokens_per_s": "tokens",
            "steps_per_s": "environment steps",
            "pairs_per_s": "preference pairs",
        },
        low=0.0,
    ),
    Curve(
        "Sampling outside the models",
        "share of its time",
        {"outside_forward": "not in forward passes"},
        low=0.0,
    ),
    Curve(
        "Time of an iteration", "seconds", {"sample_s": "sampling", "learn_s": "learning"}, low=0.0
    ),
)
"""In the order of the report; the style sheet has five colours for the lines of one."""

COUNTERS = {
    *("iteration", "env_steps", "dialogues", "tokens", "seconds", "num_episodes"),
    *("step", "epoch", "evaluation", "trial"),
}
"""Figures that only count; no chart shows them."""

X_AXES = {"cartpole": ("env_steps", "environment steps")}
"""Workflow -> key and name of what its curves are drawn over, where that grows."""
ITERATION_AXIS = ("iteration", "iteration")


def make_charts(rows: Sequence[Row], settings: Mapping[str, Any]) -> list[Chart]:
    """The charts of a run, those of `CURVES` first; without a figure there is no chart.

    Args:
        rows: of `metrics.jsonl`.
        settings: the run's, as nested tables.
    """
    workflow = str(settings.get("workflow", ""))
    x_key, x_label = _x_axis(rows, workflow)
    rows = [_in_todays_names(row) for row in rows]
    curves = [curve for curve in CURVES if curve.is_of(settings)]
    claimed = {key for curve in curves for key in curve.keys} | COUNTERS
    names = dict.fromkeys(key for row in rows for key in row if key not in claimed)
    others = [Curve(key.replace("_", " ").capitalize(), "", {key: key}) for key in names]
    charts = []
    for curve in (*curves, *others):
        found = {label: _points(rows, x_key, key) for key, label in curve.keys.items()}
        lines = [Line(label, points) for label, points in found.items() if points]
        if lines:
            levels = _levels(curve, settings)
            charts.append(
                Chart(curve.title, curve.unit, x_label, lines, levels, curve.low, curve.high)
            )
    return charts


def setting_at(settings: Mapping[str, Any], key: str) -> object:
    """The value of a dotted key of nested tables; None where it is not there."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def finite(value: object) -> float | None:
    """`value` where it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _in_todays_names(row: Row) -> Row:
    """A row of DPO from before its objective was told in two terms called it the loss."""
    if "reward_chosen" not in row or "objective" in row or "loss" not in row:
        return row
    return {("objective" if key == "loss" else key): value for key, value in row.items()}


def _levels(curve: Curve, settings: Mapping[str, Any]) -> tuple[Reference, ...]:
    value = finite(setting_at(settings, curve.setting)) if curve.setting else None
    return () if value is None else (Reference(curve.level_label, value),)


def _x_axis(rows: Sequence[Row], workflow: str) -> tuple[str, str]:
    key, label = X_AXES.get(workflow, ITERATION_AXIS)
    values = [x for row in rows if (x := finite(row.get(key))) is not None]
    grows = len(values) == len(rows) and all(a < b for a, b in pairwise(values))
    return (key, label) if grows else ITERATION_AXIS


def _points(rows: Sequence[Row], x_key: str, key: str) -> list[Point]:
    pairs = ((finite(row.get(x_key)), finite(row.get(key))) for row in rows)
    return sorted({x: y for x, y in pairs if x is not None and y is not None}.items())
