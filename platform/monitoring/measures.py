"""The measures that a run shows to Prometheus: their names, units, meanings and sources.

`MEASURES` come from the rows of `metrics.jsonl`, whatever writes them; `EVENTS` from what happens
in between. Ray puts `ray_` before a name and, for a counter, `_total` behind it. A new measure is a
row here, its key in rows of `settings.experiments`, in `docs/tasks/monitoring.md`, and a panel in
`deploy/grafana/parley.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PREFIX = "parley_"
TAGS = ("run", "policy", "worker")
"""The run's experiment and folder; the policy that is measured; who measured it."""


@dataclass(frozen=True)
class Measure:
    """One time series for each run, policy and worker."""

    name: str
    description: str
    """With its unit."""
    form: Literal["gauge", "counter"] = "gauge"

    @property
    def series(self) -> str:
        """Its name in Prometheus."""
        return f"ray_{PREFIX}{self.name}" + ("_total" if self.form == "counter" else "")


MEASURES = (
    Measure("iteration", "Iterations, or gradient steps, so far"),
    Measure("env_steps", "Environment steps so far"),
    Measure("reward", "Mean reward: return of an episode, reward of a reply, sum of a trace"),
    Measure("evaluation_return", "Mean return of greedy episodes on seeds of their own"),
    Measure("competitor_nll", "Surprise of the competitor at the replies, nats per token"),
    Measure(
        "kl",
        "KL, nats: to the start (dialogue; estimated in self-play), to the acting policy (others)",
    ),
    Measure("entropy", "Entropy of the policy, nats per action"),
    Measure("tokens_per_second", "Tokens drawn or learned, per second"),
    Measure(
        "env_steps_per_second",
        "Environment steps per second of sampling and learning; of a trace, a token is a step",
    ),
    Measure("pairs_per_second", "Pairs learned per second"),
    Measure("policy_loss", "Loss of the policy"),
    Measure("value_loss", "Loss of the values"),
    Measure("loss", "Training loss: of the pairs (DPO), else nats per token"),
    Measure("heldout_loss", "The same on held-out data"),
    Measure(
        "preference_accuracy",
        "Share of held-out pairs in which the chosen reply has the higher implicit reward",
    ),
    Measure("cooperative_rate", "Share of answers in which the judge finds no violated maxim"),
    Measure("exact_match", "Share of exact traces"),
    Measure("macro_f1", "Mean F1 over the maxims of the detector"),
)
"""Each has the figure of the newest row; the rows of `settings.experiments` name the keys."""

NONFINITE = Measure(
    "nonfinite_figures",
    "Figures of the measures above that were no finite numbers",
    form="counter",
)
CHECKPOINTS = Measure("checkpoints", "Checkpoints written", form="counter")
CHECKPOINT_SECONDS = Measure(
    "checkpoint_seconds", "Seconds that writing checkpoints took, in sum", form="counter"
)
RESTARTS = Measure(
    "restarts", "Processes that died and were replaced; the tag kind says which", form="counter"
)
WEIGHTS_AGE_SECONDS = Measure(
    "weights_age_seconds",
    "From the learner's giving its weights away to the runner's having played with them",
)
WEIGHTS_UPDATE = Measure("weights_update", "Number of the weights with which a runner last played")
RUNNER_ENV_STEPS = Measure(
    "runner_env_steps", "Environment steps that a runner took", form="counter"
)
RUNNER_TOKENS = Measure("runner_tokens", "Tokens that a runner drew", form="counter")

EVENTS = (
    NONFINITE,
    CHECKPOINTS,
    CHECKPOINT_SECONDS,
    RESTARTS,
    WEIGHTS_AGE_SECONDS,
    WEIGHTS_UPDATE,
    RUNNER_ENV_STEPS,
    RUNNER_TOKENS,
)


def sources_of(keys: Mapping[str, str]) -> list[tuple[str, Measure]]:
    """The keys in the rows of a run, each with a measure that it feeds.

    Args:
        keys: measure -> key.
    """
    return [(keys[measure.name], measure) for measure in MEASURES if measure.name in keys]
