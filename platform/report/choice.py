"""Whether the best trial of a sweep is better than the others, or only looks so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from parley.platform.records import Metrics
from parley.platform.report.intervals import LEAST_UNITS

CHOICE = "best_choice"
"""The final figure that says it in words."""


class Gain(NamedTuple):
    """By how much the score of one trial is higher than that of another."""

    value: float
    interval: tuple[float, float]
    """95 %."""
    num_units: int
    """Independent ones, such as conversations, that the interval is over."""

    @property
    def is_shown(self) -> bool:
        """Whether the interval says that it is more than chance."""
        return self.num_units >= LEAST_UNITS and self.interval[0] > 0.0


def describe_choice(chosen: str, gains: Mapping[str, Gain]) -> Metrics:
    """The final figures of a choice.

    Args:
        chosen: name of the best trial.
        gains: over each other trial by its name, the runner-up first; not empty.
    """
    runner_up, gain = next(iter(gains.items()))
    alike = [name for name, other in gains.items() if not other.is_shown]
    low, high = gain.interval
    span = f"{gain.value:+.3f} in score, 95 % interval {low:+.3f} to {high:+.3f}"
    if not alike:
        told = f"trial {chosen} is better than the next best, {runner_up}: {span}"
    elif gain.num_units < LEAST_UNITS:
        told = (
            f"trial {chosen} has the highest score; that it is better than others cannot be shown "
            f"on {gain.num_units} held-out conversations ({LEAST_UNITS} at least)"
        )
    else:
        told = (
            f"trial {chosen} has the highest score, but cannot be told apart from "
            f"{', '.join(alike)}; from the next best, {runner_up}: {span}"
        )
    return {
        "runner_up_trial": runner_up,
        "best_score_gain": gain.value,
        "best_score_gain_ci95": list(gain.interval),
        "best_is_shown": not alike,
        "best_not_told_from": alike,
        CHOICE: told,
    }
