"""The figures of an evaluation by their contract's names, the criteria, and answers to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.cooperate.evaluation.judge_check import LEAST_COOPERATIVE, MAJORITY, JudgeCheck
from parley.platform.cooperate.evaluation.preference_accuracy import clustered_mean, clustered_rate
from parley.platform.cooperate.evaluation.questions import Questions
from parley.platform.cooperate.evaluation.table import SystemFigures
from parley.platform.maxims.false_alarms import NO_VERDICT
from parley.platform.maxims.judge.diversity import MIN_ROWS
from parley.platform.maxims.text.exchange import MAXIMS
from parley.platform.records import Metrics
from parley.platform.report.intervals import Rate

HUMAN, REJECTED, BASE, UNTUNED, TUNED = "human", "rejected", "base", "untuned", "tuned"
BEAM, SAMPLED, RERANKED, REPAIRED = "tuned_beam", "tuned_sampled", "reranked", "repaired"
UNTUNED_RERANKED = "untuned_reranked"
"""Names of the systems: in the table, and behind the names of the figures."""

NUM_SAMPLES = 24
"""Prompts that are kept with all answers, to be read."""

MOST_QUALITY_VIOLATIONS = 0.10
"""A bound of the criteria, besides `LEAST_COOPERATIVE`."""
UNDECIDED = "undecided"

EVALUATION_FILE = "evaluation.json"
"""The latest evaluation of a run, next to its result: figures, table and samples."""

Answers = dict[str, list[str]]
"""System -> its response to each prompt."""


@dataclass(frozen=True)
class Verdicts:
    """What was found in a system's responses, bool [N, 4] by the order of `MAXIMS`."""

    judged: NDArray[np.bool_]
    """By the independent judge."""
    detected: NDArray[np.bool_]
    """By the pipeline's detector."""


@dataclass(frozen=True)
class Criterion:
    """A condition that a tuned generator shall meet."""

    name: str
    text: str
    """What is asked, and what was found."""
    is_met: bool | None
    """None: the interval holds both, or the judge can give no verdict."""

    @property
    def mark(self) -> str:
        """The verdict in a word or two."""
        return UNDECIDED if self.is_met is None else "met" if self.is_met else "not met"


def name_rate(name: str, rate: Rate) -> Metrics:
    """A rate with its interval next to it."""
    return {name: rate.value, f"{name}_ci95": list(rate.interval)}


def name_rates(name: str, rates: Mapping[str, Rate]) -> Metrics:
    """Rates by maxim with their intervals next to them."""
    return {
        name: {maxim: rate.value for maxim, rate in rates.items()},
        f"{name}_ci95": {maxim: list(rate.interval) for maxim, rate in rates.items()},
    }


def name_variety(system: SystemFigures) -> dict[str, Rate]:
    """How varied a system's responses are, by the contract's names."""
    return {
        "distinct_1": system.distinct_1,
        "distinct_2": system.distinct_2,
        "repeated_responses": system.repeated,
        "looping_words": system.looping,
    }


def name_figures(
    table: Sequence[SystemFigures], verdicts: Mapping[str, Verdicts], conversations: Sequence[str]
) -> Metrics:
    """All systems' figures; those of the tuned model's greedy responses without a suffix.

    `cooperative_gain` is how much more often these are cooperative than the untuned model's, prompt
    by prompt.
    """
    by_name = {system.name: system for system in table}
    metrics: Metrics = {}
    for name in (TUNED, *(name for name in by_name if name != TUNED)):
        rate_name = f"cooperative_rate{_suffix(name)}"
        metrics |= name_rate(rate_name, by_name[name].cooperative)
    cooperative = {name: ~verdicts[name].judged.any(axis=1) for name in (TUNED, UNTUNED)}
    gains = cooperative[TUNED].astype(float) - cooperative[UNTUNED].astype(float)
    metrics |= name_rate("cooperative_gain", clustered_mean(gains, conversations))
    metrics |= name_rate("cooperative_rate_by_detector", by_name[TUNED].detector_cooperative)
    flagged = np.any(verdicts[HUMAN].detected, axis=1)
    metrics |= name_rate("flag_rate_human_by_detector", clustered_rate(flagged, conversations))
    for name in (TUNED, UNTUNED, RERANKED, REPAIRED, HUMAN):
        metrics |= name_rates(f"violation_rate_by_maxim{_suffix(name)}", by_name[name].violations)
    for name in (TUNED, UNTUNED, RERANKED, HUMAN):
        system = by_name[name]
        for figure, rate in name_variety(system).items():
            metrics |= name_rate(f"{figure}{_suffix(name)}", rate)
        metrics |= {
            f"response_words{_suffix(name)}": system.words,
            f"response_perplexity{_suffix(name)}": system.perplexity,
        }
    return metrics | {"prompts": len(conversations)}


def name_check(check: JudgeCheck) -> Metrics:
    """What people's replies say of the judge, and why there is no verdict, if there is none."""
    return {
        **name_rate("judge_fit_gain", check.fit_gain),
        "prompt_contexts": check.num_contexts,
        "prompt_conversations": check.num_conversations,
        NO_VERDICT: check.obstacle or None,
    }


def find_obstacle(metrics: Mapping[str, Any]) -> str:
    """Why the figures give no verdict; empty where they do.

    Those of earlier versions do not say: they are asked for what they hold.
    """
    if NO_VERDICT in metrics:
        return str(metrics[NO_VERDICT] or "")
    again = "; measure it anew by parley evaluate RUN"
    if metrics["prompts"] < MIN_ROWS:
        few = f"{metrics['prompts']} prompts are too few for the judge, which needs {MIN_ROWS}"
        return few + again
    low, high = metrics["cooperative_rate_human_ci95"]
    if low <= MAJORITY:
        return (
            f"the judge finds only {low:.1%} to {high:.1%} of people's replies to the same prompts "
            f"cooperative{again}"
        )
    return ""


def check_criteria(metrics: Mapping[str, Any]) -> list[Criterion]:
    """The criteria of success, for the tuned model's greedy responses, decided by intervals."""
    is_judged = not find_obstacle(metrics)
    rate, untuned = metrics["cooperative_rate"], metrics["cooperative_rate_untuned"]
    quality = metrics["violation_rate_by_maxim"]["quality"]
    rates, gains = metrics["cooperative_rate_ci95"], metrics["cooperative_gain_ci95"]
    qualities = metrics["violation_rate_by_maxim_ci95"]["quality"]
    criteria = [
        Criterion(
            "cooperative_rate_above_65",
            f"cooperative rate above {LEAST_COOPERATIVE:.0%}: {rate:.1%} ({_span(rates)})",
            is_above(rates, LEAST_COOPERATIVE),
        ),
        Criterion(
            "better_than_untuned",
            f"better than the untuned model: {rate:.1%} against {untuned:.1%}, "
            f"prompt by prompt {_span(gains, '+')}",
            is_above(gains, 0.0),
        ),
        Criterion(
            "quality_violations_below_10",
            f"quality violations below {MOST_QUALITY_VIOLATIONS:.0%}: {quality:.1%} "
            f"({_span(qualities)})",
            None if (above := is_above(qualities, MOST_QUALITY_VIOLATIONS)) is None else not above,
        ),
    ]
    return criteria if is_judged else [replace(one, is_met=None) for one in criteria]


def is_above(interval: Sequence[float | None], bound: float) -> bool | None:
    """Whether a figure is above a bound; None where its interval holds both."""
    low, high = interval
    if low is None or high is None:  # as JSON has what is no number
        return None
    return True if low > bound else False if high < bound else None


def _span(interval: Sequence[float | None], sign: str = "") -> str:
    ends = ["-" if end is None else f"{end:{sign}.1%}" for end in interval]
    return " to ".join(ends)


def keep_samples(
    questions: Questions, answers: Answers, verdicts: Mapping[str, Verdicts], num: int = NUM_SAMPLES
) -> list[Metrics]:
    """Some prompts, evenly over all, with every system's answer and what was found in it."""
    last, steps = len(questions.pairs) - 1, max(1, min(num, len(questions.pairs)) - 1)
    places = sorted({round(step * last / steps) for step in range(steps + 1)})
    samples = []
    for place in places:
        pair, (context, evidence) = questions.pairs[place], questions.contexts[place]
        given = {
            name: {
                "text": texts[place],
                "violations": _maxims(verdicts[name].judged[place]),
                "detected": _maxims(verdicts[name].detected[place]),
            }
            for name, texts in answers.items()
        }
        samples.append(
            {
                "id": pair.id,
                "conversation": pair.conversation,
                "context": context,
                "evidence": evidence,
                "maxim": pair.maxim,
                "answers": given,
            }
        )
    return samples


def _suffix(name: str) -> str:
    return "" if name == TUNED else f"_{name.removeprefix('tuned_')}"


def _maxims(flags: NDArray[np.bool_]) -> list[str]:
    return [maxim for maxim, is_found in zip(MAXIMS, flags, strict=True) if is_found]
