"""What schedulers and Optuna know of an interrupted sweep's trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from parley.platform.engine.sweeps.record import Status, TrialRecord, find_best
from parley.platform.engine.sweeps.schedulers import Halving, Population, build_scheduler
from parley.platform.engine.sweeps.space import TrialPlan
from parley.platform.engine.sweeps.trial_folder import TrialFolder
from parley.platform.engine.sweeps.worker import PLAN, TRIAL, VALUES, tune_config
from parley.platform.settings.sweep import Value
from tests.platform.engine.sweeps.sweep_trials import make_config

MakeRecord = Callable[..., TrialRecord]


@pytest.fixture
def make_record(tmp_path: Path) -> MakeRecord:
    """Makes the record of a trial with these scores."""

    def make(
        number: int,
        scores: Sequence[float],
        status: Status = "pending",
        values: dict[str, Value] | None = None,
    ) -> TrialRecord:
        plan = TrialPlan(number, values or {"dpo.beta": 0.1, "dpo.learning_rate": 1e-4})
        record = TrialRecord(plan, TrialFolder(tmp_path / plan.name, keep=2), status)
        record.rows = [
            {"evaluation": n, "score": score, "seconds": 1.0, "config": dict(plan.values)}
            for n, score in enumerate(scores, start=1)
        ]
        return record

    return make


def tune_trial(number: int, beta: float = 0.1, rate: float = 1e-4) -> Any:
    """What a scheduler needs of one of Tune's trials."""
    plan = TrialPlan(number, {"dpo.beta": beta, "dpo.learning_rate": rate})
    manager = SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=None))
    return _Trial(
        trial_id=f"another-id-{number}",
        config={PLAN: tune_config(plan)},
        run_metadata=SimpleNamespace(checkpoint_manager=manager),
        experiment_tag="",
    )


class _Trial(SimpleNamespace):
    """Hashable, as Tune's trials are."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def decide(scheduler: Halving, number: int, evaluation: int, score: float) -> str:
    trial = tune_trial(number)
    scheduler.on_trial_add(None, trial)
    decision = scheduler.on_trial_result(None, trial, {"evaluation": evaluation, "score": score})
    scheduler.on_trial_remove(None, trial)
    return decision


def test_halving_decides_after_a_replay_as_it_would_have(make_record: MakeRecord) -> None:
    config = make_config("sweep.scheduler=asha", "sweep.asha.reduction_factor=2")
    histories = {0: [0.5, 0.6, 0.7], 1: [0.6, 0.8], 2: [0.1]}
    whole = build_scheduler(config, [])
    assert isinstance(whole, Halving)
    for evaluation in (1, 2, 3):
        for number, scores in histories.items():
            if evaluation <= len(scores):
                decide(whole, number, evaluation, scores[evaluation - 1])
    replayed = build_scheduler(
        config, [make_record(number, scores) for number, scores in histories.items()]
    )
    assert isinstance(replayed, Halving)
    for score in (0.05, 0.3, 0.55, 0.62, 0.9):
        for evaluation in (1, 2):
            assert decide(whole, 10 + evaluation, evaluation, score) == decide(
                replayed, 10 + evaluation, evaluation, score
            )
    assert decide(replayed, 20, 2, 0.3) == TrialScheduler.STOP
    assert decide(replayed, 21, 2, 0.9) == TrialScheduler.CONTINUE


def test_a_trial_that_goes_on_does_not_fill_a_rung_twice(make_record: MakeRecord) -> None:
    config = make_config("sweep.scheduler=asha", "sweep.asha.reduction_factor=2")
    scheduler = build_scheduler(config, [make_record(0, [0.5]), make_record(1, [0.6])])
    assert isinstance(scheduler, Halving)
    before = scheduler.debug_string()
    assert decide(scheduler, 0, 1, 0.99) == TrialScheduler.CONTINUE
    assert scheduler.debug_string() == before


def test_a_population_remembers_scores_and_clocks(make_record: MakeRecord) -> None:
    config = make_config("sweep.scheduler=pbt", "sweep.pbt.perturbation_evaluations=2")
    population = Population(config, [make_record(0, [0.1, 0.2, 0.3]), make_record(1, [])])
    controller: Any = SimpleNamespace(search_alg=None)
    old, new = tune_trial(0), tune_trial(1)
    population.on_trial_add(controller, old)
    population.on_trial_add(controller, new)
    states: Any = population._trial_state
    assert (states[old].last_score, states[old].last_perturbation_time) == (0.2, 2)
    assert (states[new].last_score, states[new].last_perturbation_time) == (None, 0)


def test_a_copy_keeps_its_number_and_stays_in_the_space(make_record: MakeRecord) -> None:
    config = make_config(
        "sweep.scheduler=pbt",
        "sweep.space.dpo.learning_rate.grid=none",
        "sweep.space.dpo.learning_rate.log_uniform=[1e-5, 1e-3]",
    )
    population = Population(config, [])
    weak, strong = tune_trial(0), tune_trial(1, beta=0.3, rate=1e-3)
    for _ in range(20):
        mutated, _operations = population._get_new_config(weak, strong)
        plan = mutated[PLAN]
        assert plan[TRIAL] == 0
        assert plan[VALUES]["dpo.beta"] in (0.05, 0.1, 0.3)
        assert 1e-5 <= plan[VALUES]["dpo.learning_rate"] <= 1e-3


def test_adopting_leaves_the_best_of_its_own_to_be_found(make_record: MakeRecord) -> None:
    donor, weak = make_record(0, []), make_record(1, [])
    for record, score in ((donor, 0.9), (weak, 0.2)):
        with record.folder.locked():
            row = {"evaluation": 1, "score": score, "seconds": 3.0, "config": {"dpo.beta": 0.1}}
            record.folder.save(row, write_weights)
            record.folder.append_row(row)
    source = donor.folder.newest()
    assert source is not None
    weak.folder.adopt(source, {"dpo.beta": 0.12})
    newest = weak.folder.newest()
    assert newest is not None and newest.is_adopted
    assert (newest.state / "weights").read_text() == "w"
    assert newest.row["config"] == {"dpo.beta": 0.12}
    assert newest.row["evaluation"] == 1
    best = find_best([weak, donor])
    assert best is not None and best[0] is donor


def write_weights(target: Path) -> None:
    (target / "weights").write_text("w")


def test_optuna_goes_on_with_what_was_begun_then_draws_the_rest(make_record: MakeRecord) -> None:
    pytest.importorskip("optuna")
    from parley.platform.engine.sweeps.search import OptunaDraws

    config = make_config(
        "sweep.search=optuna",
        "sweep.num_samples=4",
        "sweep.space.dpo.beta.grid=none",
        "sweep.space.dpo.beta.uniform=[0.1, 0.5]",
    )
    begun: dict[str, Value] = {"dpo.beta": 0.25, "dpo.learning_rate": 1e-4}
    finished: dict[str, Value] = {"dpo.beta": 0.4, "dpo.learning_rate": 1e-4}
    draws = OptunaDraws(
        config,
        [make_record(0, [0.5], "done", finished), make_record(1, [0.3], "pending", begun)],
    )
    first = draws.suggest("a")
    assert first == {PLAN: {TRIAL: 1, VALUES: begun}}
    drawn = [draws.suggest(name)[PLAN] for name in ("b", "c")]
    assert [plan[TRIAL] for plan in drawn] == [2, 3]
    assert all(0.1 <= plan[VALUES]["dpo.beta"] <= 0.5 for plan in drawn)
    assert draws.suggest("d") == Searcher.FINISHED
    draws.on_trial_complete("a", {"score": 0.7, "training_iteration": 1})
    draws.on_trial_complete("b", {"score": 0.2, "training_iteration": 1})
    study: Any = draws._ot_study
    values = {trial.params["dpo.beta"]: trial.value for trial in study.trials}
    assert values[0.4] == 0.5 and values[0.25] == 0.7
    assert len(study.trials) == 4
