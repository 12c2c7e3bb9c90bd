"""The measures that a run shows to Prometheus: their names, units, meanings and sources.

`MEASURES` come from the rows of `metrics.jsonl`, whatever writes them; `EVENTS` from what happens
in between. Ray puts `ray_` before a name and, for a counter, `_total` behind it. A new measure is a
row here, in `docs/monitoring.md`, and a panel in `deploy/grafana/parley.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PREFIX = "parley_"
TAGS = ("run", "policy", "worker")
"""The run's experiment and folder; the policy that is measured; who measured it."""

Kind = tuple[str, str]
"""Workflow and algorithm."""
CARTS: Kind = ("cartpole", "ppo")
IMITATION: Kind = ("cartpole", "imitate")
PRETRAINING: Kind = ("dialogue", "pretrain")
SELF_PLAY: Kind = ("dialogue", "ppo")
REINFORCE: Kind = ("dialogue", "reinforce")
PREFERENCES: Kind = ("dialogue", "dpo")
DETECTOR: Kind = ("dialogue", "detector")
TRACES: Kind = ("trace", "next_token")
TRACE_PPO: Kind = ("trace", "ppo")

ROLLING: tuple[Kind, ...] = (CARTS, SELF_PLAY, REINFORCE, TRACE_PPO)
"""Those with env runners and RLlib's learners."""
SELF_PLAYS: tuple[Kind, ...] = (SELF_PLAY, REINFORCE)
EVERY: tuple[Kind, ...] = (*ROLLING, IMITATION, PRETRAINING, PREFERENCES, DETECTOR, TRACES)


@dataclass(frozen=True)
class Measure:
    """One time series for each run, policy and worker."""

    name: str
    description: str
    """With its unit."""
    keys: Mapping[Kind, str] = field(default_factory=dict, compare=False)
    """Workflow and algorithm -> the key in a row of metrics; empty: not from rows."""
    form: Literal["gauge", "counter"] = "gauge"

    @property
    def series(self) -> str:
        """Its name in Prometheus."""
        return f"ray_{PREFIX}{self.name}" + ("_total" if self.form == "counter" else "")


def _same(key: str, *kinds: Kind) -> dict[Kind, str]:
    return dict.fromkeys(kinds, key)


MEASURES = (
    Measure("iteration", "Iterations, or gradient steps, so far", _same("iteration", *EVERY)),
    Measure("env_steps", "Environment steps so far", _same("env_steps", *ROLLING)),
    Measure(
        "reward",
        "Mean reward: return of an episode, reward of a reply, sum of a trace",
        {CARTS: "mean_return", **_same("reward", *SELF_PLAYS, TRACE_PPO)},
    ),
    Measure(
        "evaluation_return",
        "Mean return of greedy episodes on seeds of their own",
        _same("eval_return", CARTS, IMITATION),
    ),
    Measure(
        "competitor_nll",
        "Surprise of the competitor at the replies, nats per token",
        _same("competitor_nll", *SELF_PLAYS),
    ),
    Measure(
        "kl",
        "KL, nats: to the start (dialogue; estimated in self-play), to the acting policy (others)",
        _same("kl", *ROLLING, PREFERENCES),
    ),
    Measure("entropy", "Entropy of the policy, nats per action", _same("entropy", *ROLLING)),
    Measure(
        "tokens_per_second",
        "Tokens drawn or learned, per second",
        _same("tokens_per_s", *SELF_PLAYS, TRACE_PPO, TRACES, IMITATION, PRETRAINING),
    ),
    Measure(
        "env_steps_per_second",
        "Environment steps per second of sampling and learning; of a trace, a token is a step",
        {
            CARTS: "steps_per_s",
            **_same("env_steps_per_s", *SELF_PLAYS),
            TRACE_PPO: "tokens_per_s",
        },
    ),
    Measure("pairs_per_second", "Pairs learned per second", _same("pairs_per_s", PREFERENCES)),
    Measure("policy_loss", "Loss of the policy", _same("policy_loss", *ROLLING)),
    Measure("value_loss", "Loss of the values", _same("value_loss", *ROLLING)),
    Measure(
        "loss",
        "Training loss: of the pairs (DPO), else nats per token",
        {
            PREFERENCES: "loss",
            PRETRAINING: "train_nats_per_token",
            **_same("train_loss", TRACES, IMITATION),
        },
    ),
    Measure(
        "heldout_loss",
        "The same on held-out data",
        {
            PREFERENCES: "eval_loss",
            IMITATION: "heldout_loss",
            PRETRAINING: "selection_nats_per_token",
        },
    ),
    Measure(
        "preference_accuracy",
        "Share of held-out pairs in which the chosen reply has the higher implicit reward",
        _same("preference_accuracy", PREFERENCES),
    ),
    Measure(
        "cooperative_rate",
        "Share of answers in which the judge finds no violated maxim",
        _same("cooperative_rate", PREFERENCES),
    ),
    Measure("exact_match", "Share of exact traces", _same("exact_match", TRACES, TRACE_PPO)),
    Measure("macro_f1", "Mean F1 of the detector's maxims", _same("macro_f1", DETECTOR)),
)
"""Each has the figure of the newest row."""

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


def sources_of(kind: Kind) -> list[tuple[str, Measure]]:
    """The keys in the rows of a workflow and algorithm, each with a measure that it feeds."""
    return [(measure.keys[kind], measure) for measure in MEASURES if kind in measure.keys]
