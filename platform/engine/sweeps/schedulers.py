"""Who stops or copies trials before their end, ready to go on from the measures of a sweep.

Ray Tune's schedulers know a trial by an id of the process that began it. Here a trial is known by
its number, so that the measures of an interrupted sweep can be told to a new scheduler.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.schedulers.pbt import PopulationBasedTraining

from parley.platform.engine.sweeps.record import TrialRecord
from parley.platform.engine.sweeps.space import clip_values, mutations
from parley.platform.engine.sweeps.worker import EVALUATION, PLAN, SCORE, TRIAL, VALUES, read_plan
from parley.platform.records import TuneResult
from parley.platform.settings.sweep import SweepableConfig

MOST_EVALUATIONS = 1_000_000
"""Successive halving wants a last rung; a trial ends by itself long before this one."""


def build_scheduler(config: SweepableConfig, records: Sequence[TrialRecord]) -> TrialScheduler:
    """The scheduler of the settings, which knows the measures of `records` already."""
    sweep = config.sweep
    if sweep.scheduler == "asha":
        halving = Halving(
            time_attr=EVALUATION,
            metric=SCORE,
            mode="max",
            max_t=MOST_EVALUATIONS,
            grace_period=sweep.asha.grace_evaluations,
            reduction_factor=sweep.asha.reduction_factor,
        )
        halving.replay(records)
        return halving
    if sweep.scheduler == "pbt":
        random.seed(config.seed)
        return Population(config, records)
    return FIFOScheduler()


class Halving(AsyncHyperBandScheduler):
    """Asynchronous successive halving whose rungs know trials by their numbers."""

    def replay(self, records: Sequence[TrialRecord]) -> None:
        """Fill the rungs with the measures of earlier trials.

        What a rung holds decides, not the order in which it was filled: each trial is recorded once
        at a rung, with the same score as before.
        """
        for record in records:
            known = SimpleNamespace(trial_id=record.plan.name)
            super().on_trial_add(None, known)  # type: ignore[arg-type]
            for row in record.rows:
                super().on_trial_result(None, known, row)  # type: ignore[arg-type]
            super().on_trial_remove(None, known)  # type: ignore[arg-type]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tune's hook."""
        super().on_trial_add(tune_controller, _by_name(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: TuneResult) -> str:
        """Tune's hook."""
        return super().on_trial_result(tune_controller, _by_name(trial), result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: TuneResult) -> None:
        """Tune's hook."""
        super().on_trial_complete(tune_controller, _by_name(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Tune's hook."""
        super().on_trial_remove(tune_controller, _by_name(trial))


class Population(PopulationBasedTraining):
    """Population-based training whose members keep their numbers and stay inside the space."""

    def __init__(self, config: SweepableConfig, records: Sequence[TrialRecord]) -> None:
        super().__init__(
            time_attr=EVALUATION,
            metric=SCORE,
            mode="max",
            perturbation_interval=config.sweep.pbt.perturbation_evaluations,
            quantile_fraction=config.sweep.pbt.quantile,
            hyperparam_mutations={PLAN: {VALUES: mutations(config)}},
            log_config=False,
            require_attrs=False,
        )
        self._config = config
        self._known = {record.plan.number: record.rows for record in records}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tune's hook: a trial that goes on has the score and the clock that it had."""
        super().on_trial_add(tune_controller, trial)
        state: Any = self._trial_state[trial]
        for row in self._known.get(read_plan(trial.config).number, []):
            if row[EVALUATION] - state.last_perturbation_time >= self._perturbation_interval:
                state.last_perturbation_time = state.last_train_time = row[EVALUATION]
                state.last_score = row[SCORE]
                state.last_result = dict(row)

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], Any]:
        config, operations = super()._get_new_config(trial, trial_to_clone)
        values: Mapping[str, Any] = config[PLAN][VALUES]
        own = {
            TRIAL: trial.config[PLAN][TRIAL],
            VALUES: clip_values(self._config, values),
        }
        return {**config, PLAN: own}, operations


def _by_name(trial: Any) -> Any:
    """What successive halving wants to know of a trial: an id."""
    return SimpleNamespace(trial_id=read_plan(trial.config).name)
