"""What a run announces, as time series; see `measures`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import ray

from parley.platform.monitoring.measures import (
    CHECKPOINT_SECONDS,
    CHECKPOINTS,
    NONFINITE,
    RESTARTS,
    sources_of,
)
from parley.platform.monitoring.series import KIND_TAG, count, show
from parley.platform.runs.announcements import (
    Announcement,
    CheckpointSaved,
    ProcessRestarted,
    RowAppended,
)
from parley.platform.settings.experiments import find_experiment
from parley.platform.settings.sections import ExperimentConfig

ALL_POLICIES = "all"
"""The tag of figures over several policies."""
DRIVER = "driver"
"""The tag of figures that the main process knows."""
POLICIES_KEY, TRIAL_KEY = "policies", "trial"
"""In a row: the figures of each policy by its name, where there are several; the trial's name."""


class Publisher:
    """Shows the rows, checkpoints and restarts of one run; a listener.

    Args:
        config: the experiment.
        run: its name among the runs of the cluster.
        worker: whose checkpoints and restarts are heard here.
    """

    def __init__(self, config: ExperimentConfig, run: str, worker: str = DRIVER) -> None:
        self._sources = sources_of(find_experiment(config.workflow, config.algorithm).measures)
        self._tags = {"run": run, "policy": policy_of(config), "worker": worker}

    def __call__(self, announcement: Announcement) -> None:
        """Show it, where there is a cluster to show it to."""
        if not ray.is_initialized():
            return
        match announcement:
            case RowAppended(row=row):
                self._show_row(row)
            case CheckpointSaved(seconds=seconds):
                count(CHECKPOINTS, 1, self._tags)
                count(CHECKPOINT_SECONDS, seconds, self._tags)
            case ProcessRestarted(kind=kind, worker=worker):
                count(RESTARTS, 1, {**self._tags, "worker": worker, KIND_TAG: kind})

    def _show_row(self, row: Mapping[str, object]) -> None:
        worker = str(row.get(TRIAL_KEY, self._tags["worker"]))
        self._show_figures(row, {**self._tags, "worker": worker})
        policies = row.get(POLICIES_KEY)
        for policy, figures in policies.items() if isinstance(policies, Mapping) else ():
            self._show_figures(figures, {**self._tags, "policy": policy, "worker": worker})

    def _show_figures(self, figures: Mapping[str, object], tags: dict[str, str]) -> None:
        """Each measure whose key is there; None and NaN take its series away."""
        for key, measure in self._sources:
            if key not in figures:
                continue
            value = _number(figures[key])
            show(measure, value, tags)
            if figures[key] is not None and not math.isfinite(value):
                count(NONFINITE, 1, tags)


def policy_of(config: ExperimentConfig) -> str:
    """The policy that the figures of a run are about."""
    names = config.policy_names
    return names[0] if len(names) == 1 else ALL_POLICIES


def _number(value: object) -> float:
    """A figure of any numeric type, numpy's included; NaN for what is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
