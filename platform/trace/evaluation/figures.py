"""The figures of a trace evaluation under their contract names, with intervals, by size.

An overall figure pools the traces of the trained sizes; the same name with `_beyond_training` pools
those of the other sizes. A small size that has few inputs counts for little there, and as much as
any other by length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.platform.records import Metrics
from parley.platform.report.intervals import (
    bootstrap_rate_interval,
    wilson_interval,
)
from parley.platform.trace.evaluation.execute import LabelScores, WrittenTraces

BEYOND = "_beyond_training"
"""Suffix of a figure of the sizes that the model was not trained on."""

_Values = Callable[["SizeFigures"], NDArray[Any]]
"""A value for each of the N traces of a size."""


@dataclass(frozen=True)
class SizeFigures:
    """What was measured on the held-out inputs of one size."""

    size: int
    written: WrittenTraces
    labels: LabelScores

    @property
    def num_inputs(self) -> int:
        """Inputs that were measured."""
        return len(self.labels.nats)

    @property
    def excess_per_label(self) -> float:
        """Nats above the optimum per label of the true traces."""
        return float(self.labels.excess.sum() / self.labels.num_labels.sum())


@dataclass(frozen=True)
class TraceFigures:
    """What was measured on several sizes of one language.

    Attributes:
        sizes: ascending.
        trained_sizes: those that the model was trained on, measured or not.
        is_source: whether the language is a random source, whose traces have no right answer.
        details: further figures of this kind of language, by name.
    """

    sizes: Sequence[SizeFigures]
    trained_sizes: Sequence[int]
    is_source: bool
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> list[SizeFigures]:
        """The trained sizes, behind the figures without a suffix."""
        return [figures for figures in self.sizes if figures.size in self.trained_sizes]

    @property
    def untrained(self) -> list[SizeFigures]:
        """The other ones."""
        return [figures for figures in self.sizes if figures.size not in self.trained_sizes]

    @property
    def exact_match(self) -> float | None:
        """Share of the traces whose execution gave the right answer; None of a source."""
        return None if self.is_source else float(_pool(self.trained, _exact).mean())

    @property
    def least_exact_match(self) -> float | None:
        """The same at the size where it is lowest."""
        if self.is_source:
            return None
        return min(float(figures.written.exact.mean()) for figures in self.trained)

    @property
    def illegal_rate(self) -> float:
        """Share of the traces with a token that the executor refused."""
        return float(_pool(self.trained, _illegal).mean())

    @property
    def nats_over_optimal(self) -> float:
        """Nats per label of the true traces above the optimal predictor's."""
        return float(_pool(self.trained, _excess).sum() / _pool(self.trained, _num_labels).sum())

    def metrics(self) -> Metrics:
        """All figures, `<name>_ci95` next to each; `<name>_by_length` is a table by size.

        Figures of trained sizes are None where none of these was measured. `inputs_trained_sizes`
        and `inputs_beyond_training` count the traces behind a figure without and with that suffix.
        `first_error_position` counts the written tokens before the first that is not the true
        trace's, over the traces that are not exact; None where all are.
        """
        exact = {"exact_match": None} if self.is_source else self._shares("exact_match", _exact)
        num_written = sum(figures.written.num_written for figures in self.sizes)
        seconds = sum(figures.written.seconds for figures in self.sizes)
        return {
            **exact,
            **self._shares("illegal_rate", _illegal),
            **({} if self.is_source else self._first_errors()),
            **self._nats(),
            **self._shares("label_accuracy", _right_share),
            **self.details,
            **self._counts(),
            "tokens_per_s": num_written / seconds,
        }

    def _counts(self) -> Metrics:
        """Which sizes were measured on how many inputs."""
        return {
            "inputs": _count(self.sizes),
            "inputs_trained_sizes": _count(self.trained),
            f"inputs{BEYOND}": _count(self.untrained),
            "trained_sizes": [figures.size for figures in self.trained],
            f"sizes{BEYOND}": [figures.size for figures in self.untrained],
            "inputs_by_length": {figures.size: figures.num_inputs for figures in self.sizes},
        }

    def _groups(self, name: str) -> Iterator[tuple[str, list[SizeFigures]]]:
        """A figure's name with the sizes behind it: the trained ones, and others if there are."""
        yield name, self.trained
        if self.untrained:
            yield f"{name}{BEYOND}", self.untrained

    def _shares(self, name: str, values: _Values) -> Metrics:
        """A share with Wilson's interval; a trace is one trial, however many tokens it has."""
        metrics: Metrics = {}
        for full_name, group in self._groups(name):
            pooled = _pool(group, values)
            overall = float(pooled.mean()) if len(pooled) else None
            metrics[full_name] = overall
            metrics[f"{full_name}_ci95"] = (
                None if overall is None else list(wilson_interval(overall, len(pooled)))
            )
        by_length = {figures.size: float(values(figures).mean()) for figures in self.sizes}
        return {
            **metrics,
            f"{name}_by_length": by_length,
            f"{name}_by_length_ci95": {
                figures.size: list(wilson_interval(by_length[figures.size], figures.num_inputs))
                for figures in self.sizes
            },
        }

    def _nats(self) -> Metrics:
        """Nats with bootstrap intervals over traces."""
        name = "nats_over_optimal"
        metrics: Metrics = {}
        for full_name, group in self._groups(name):
            excess, labels = _pool(group, _excess), _pool(group, _num_labels)
            metrics[full_name] = float(excess.sum() / labels.sum()) if len(labels) else None
            metrics[f"{full_name}_ci95"] = (
                list(bootstrap_rate_interval(excess, labels)) if len(labels) else None
            )
        return {
            **metrics,
            f"{name}_by_length": {s.size: s.excess_per_label for s in self.sizes},
            f"{name}_by_length_ci95": {
                figures.size: list(bootstrap_rate_interval(_excess(figures), _num_labels(figures)))
                for figures in self.sizes
            },
        }

    def _first_errors(self) -> Metrics:
        places = _pool(self.trained, lambda figures: figures.written.first_errors)
        lengths = _pool(self.trained, lambda figures: figures.written.num_to_write)
        return {
            "first_error_position": _mean_or_none(places),
            "first_error_position_median": _mean_or_none(places, np.nanmedian),
            "first_error_position_relative": _mean_or_none(places / lengths),
            "first_error_position_by_length": {
                figures.size: _mean_or_none(figures.written.first_errors) for figures in self.sizes
            },
        }


def _pool(group: Sequence[SizeFigures], values: _Values) -> NDArray[Any]:
    """The values of all traces of some sizes, [0] of none."""
    return np.concatenate([np.zeros(0), *(values(figures) for figures in group)])


def _count(group: Sequence[SizeFigures]) -> int:
    return sum(figures.num_inputs for figures in group)


def _exact(figures: SizeFigures) -> NDArray[Any]:
    return figures.written.exact


def _illegal(figures: SizeFigures) -> NDArray[Any]:
    return figures.written.illegal


def _right_share(figures: SizeFigures) -> NDArray[Any]:
    return figures.labels.num_right / figures.labels.num_labels


def _excess(figures: SizeFigures) -> NDArray[Any]:
    return figures.labels.excess


def _num_labels(figures: SizeFigures) -> NDArray[Any]:
    return figures.labels.num_labels


def _mean_or_none(
    values: NDArray[Any], average: Callable[[NDArray[Any]], Any] = np.nanmean
) -> float | None:
    return None if np.isnan(values).all() else float(average(values))
