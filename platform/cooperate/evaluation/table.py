"""The figures of one set of responses, and the table that sets several side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parley.platform.cooperate.evaluation.preference_accuracy import clustered_rate
from parley.platform.language.variety import (
    distinct_rate,
    group_units,
    looping_rate,
    repeated_rate,
)
from parley.platform.maxims.interface import Detector
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.maxims.text.sentences import find_words, normalise_space
from parley.platform.records import Row
from parley.platform.report.intervals import Rate


@dataclass(frozen=True)
class SystemFigures:
    """What one system's responses are like; rates are shares of the prompts."""

    name: str
    cooperative: Rate
    """The independent judge flags nothing."""
    violations: dict[str, Rate]
    """By maxim, as the judge sees it."""
    detector_cooperative: Rate
    """The pipeline's own detector flags nothing."""
    detector_violations: dict[str, Rate]
    perplexity: float
    """Per token under the reference; NaN where nothing was measured."""
    distinct_1: Rate
    distinct_2: Rate
    """Different words, and pairs of words, of all; both fall as there are more responses."""
    words: float
    """Mean length."""
    repeated: Rate
    """Share of the responses that were given word for word to an earlier prompt."""
    looping: Rate
    """Share of runs of four words that stood earlier in the same response: how a generator that
    came apart shows. NaN where no response has four words."""
    empty: Rate

    def as_row(self) -> Row:
        """Plain values for JSON, each rate with its interval."""
        row: Row = {"name": self.name}
        for name in (
            *("cooperative", "detector_cooperative", "distinct_1", "distinct_2"),
            *("repeated", "looping", "empty"),
        ):
            rate: Rate = getattr(self, name)
            row |= {name: rate.value, f"{name}_ci95": list(rate.interval)}
        for name in ("violations", "detector_violations"):
            rates: Mapping[str, Rate] = getattr(self, name)
            row[name] = {maxim: rate.value for maxim, rate in rates.items()}
            row[f"{name}_ci95"] = {maxim: list(rate.interval) for maxim, rate in rates.items()}
        row |= {"perplexity": self.perplexity, "words": self.words}
        return row


def measure_system(
    name: str,
    rows: Sequence[Exchange],
    conversations: Sequence[str],
    judged: NDArray[np.bool_],
    detected: NDArray[np.bool_],
    perplexity: float = math.nan,
) -> SystemFigures:
    """The figures of a system's responses.

    Args:
        name: the system's.
        rows: its N responses in their contexts, N >= 1.
        conversations: of each; they are what intervals take as independent.
        judged, detected: bool [N, 4], the violations that the judge and the detector found.
        perplexity: of the responses.
    """
    texts = [normalise_space(row.response).lower() for row in rows]
    words = [[word.lower() for word in find_words(text)] for text in texts]
    places: dict[str, int] = {}
    ids = [[places.setdefault(word, len(places)) for word in reply] for reply in words]
    units = group_units(ids, conversations)
    whole = [[places.setdefault(f"\n{text}", len(places))] for text in texts]
    return SystemFigures(
        name=name,
        cooperative=clustered_rate(_find_clean(judged), conversations),
        violations=_by_maxim(judged, conversations),
        detector_cooperative=clustered_rate(_find_clean(detected), conversations),
        detector_violations=_by_maxim(detected, conversations),
        perplexity=perplexity,
        distinct_1=distinct_rate(units, 1),
        distinct_2=distinct_rate(units, 2),
        words=float(np.mean([len(text.split()) for text in texts])),
        repeated=repeated_rate(group_units(whole, conversations)),
        looping=looping_rate(units),
        empty=clustered_rate(np.array([not text for text in texts]), conversations),
    )


def find_violations(detector: Detector, rows: Sequence[Exchange]) -> NDArray[np.bool_]:
    """What a detector flags, bool [N, 4]; an empty response says too little whoever judges."""
    flags = np.zeros((len(rows), len(MAXIMS)), np.bool_)
    spoken = np.array([bool(row.response.strip()) for row in rows], np.bool_)
    flags[~spoken, MAXIMS.index("quantity")] = True
    if spoken.any():
        kept = [row for row, speaks in zip(rows, spoken, strict=True) if speaks]
        flags[spoken] = detector.find_violations(kept)
    return flags


LEGEND = (
    "Per cent of the responses. cooperative: the independent judge flags nothing,",
    "with the 95 % interval over conversations; then what it flags, by maxim. own:",
    "cooperative by the pipeline's own detector. ppl: perplexity under the reference.",
    "dist2: distinct pairs of words. len: words. rep: given word for word before.",
    "loop: runs of four words that stood earlier in the same response.",
)


def format_table(systems: Sequence[SystemFigures]) -> list[str]:
    """The table as lines of at most 80 columns; shares in per cent."""
    names = "".join(f"{maxim[:4]:>5}" for maxim in MAXIMS)
    head = f"{'responses':<17}{'cooperative':<14}{names}{'own':>4}{'ppl':>6}{'dist2':>6}"
    return [f"{head}{'len':>4}{'rep':>4}{'loop':>5}", *map(_format_row, systems)]


def _format_row(system: SystemFigures) -> str:
    low, high = (_per_cent(bound) for bound in system.cooperative.interval)
    rate = f"{_per_cent(system.cooperative.value, 1)} ({low}-{high})"
    flags = "".join(f"{_per_cent(system.violations[maxim].value, 1):>5}" for maxim in MAXIMS)
    own = _per_cent(system.detector_cooperative.value)
    perplexity = _number(system.perplexity, 1 if system.perplexity < 1000 else 0)
    return (
        f"{system.name.replace('_', ' '):<17}{rate:<14}{flags}{own:>4}{perplexity:>6}"
        f"{_number(system.distinct_2.value, 2):>6}{_number(system.words, 0):>4}"
        f"{_per_cent(system.repeated.value):>4}{_per_cent(system.looping.value):>5}"
    )


def _per_cent(share: float, digits: int = 0) -> str:
    return _number(100 * share, 0 if share == 1.0 else digits)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _find_clean(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rows [N] of [N, 4] in which nothing is flagged."""
    return np.logical_not(flags.any(axis=1))


def _by_maxim(flags: NDArray[np.bool_], conversations: Sequence[str]) -> dict[str, Rate]:
    return {
        maxim: clustered_rate(flags[:, column], conversations)
        for column, maxim in enumerate(MAXIMS)
    }
