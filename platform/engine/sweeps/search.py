"""Optuna as the one who draws trials; it learns from the trials of an interrupted sweep too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from parley.platform.engine.sweeps.record import TrialRecord
from parley.platform.engine.sweeps.space import TrialPlan, tune_space
from parley.platform.engine.sweeps.worker import PLAN, SCORE, tune_config
from parley.platform.records import TuneResult
from parley.platform.settings.sweep import SweepableConfig


class OptunaDraws(OptunaSearch):
    """Gives the trials that an interrupted sweep had begun, then draws as many as are left.

    Args:
        config: the sweep's settings; `seed` seeds the sampler.
        records: trials of an interrupted sweep.
    """

    def __init__(self, config: SweepableConfig, records: Sequence[TrialRecord]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        drawn = len(records)
        super().__init__(
            space=self.convert_search_space(tune_space(config)),
            metric=SCORE,
            mode="max",
            seed=config.seed + drawn,
        )
        self._waiting = [record.plan for record in records if not record.is_finished]
        self._begun: dict[str, TrialPlan] = {}
        self._next_number = drawn
        self._num_left = config.sweep.num_samples - drawn
        for record in records:
            if record.is_finished and record.rows:
                self.add_evaluated_point(record.config, float(record.rows[-1][SCORE]))

    def suggest(self, trial_id: str) -> Any:
        """Tune's hook: the next trial, or that there is none."""
        if self._waiting:
            plan = self._begun[trial_id] = self._waiting.pop(0)
            return {PLAN: tune_config(plan)}
        if self._num_left <= 0:
            return Searcher.FINISHED
        values = super().suggest(trial_id)
        assert values is not None, "Optuna always has another draw"
        plan = TrialPlan(self._next_number, values)
        self._next_number += 1
        self._num_left -= 1
        return {PLAN: tune_config(plan)}

    def on_trial_result(self, trial_id: str, result: TuneResult) -> None:
        """Tune's hook."""
        if trial_id not in self._begun and SCORE in result:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: TuneResult | None = None, error: bool = False
    ) -> None:
        """Tune's hook."""
        if trial_id not in self._begun:
            super().on_trial_complete(trial_id, result, error)
        elif result and SCORE in result:
            values = dict(self._begun[trial_id].values)
            self.add_evaluated_point(values, float(result[SCORE]))
