"""A trial of a sweep: which rows it reports, and where it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from parley.platform.engine.rllib.run import PolicyRun
from parley.platform.engine.rllib.trial import run_policy_trial
from parley.platform.engine.sweeps.trial_ending import Save, TrialEnding
from parley.platform.runs.checkpoints import write_checkpoint


class CountingRun:
    """Iterates to six; every second row says how far it is."""

    algorithm = SimpleNamespace(num_lost_learners=lambda: 0)

    def __init__(self, first: dict[str, Any] | None = None) -> None:
        self.iteration = 0
        self.best = -1.0
        self.closed = 0
        self.first = first

    @property
    def finished(self) -> bool:
        return self.iteration >= 6

    def watching(self) -> nullcontext[None]:
        return nullcontext()

    def begin(self, progress: object) -> dict[str, Any] | None:
        return self.first

    def restore(self, checkpoint: Any) -> None:
        self.iteration = checkpoint.read_trainer_state()["iteration"]

    def advance(self) -> dict[str, Any]:
        self.iteration += 1
        figures = {} if self.iteration % 2 else {"reached": float(self.iteration)}
        return {"iteration": self.iteration, **figures}

    def score(self, row: Mapping[str, Any]) -> float | None:
        return row.get("reached")

    def new_best(self, row: Mapping[str, Any]) -> None:
        self.best = max(self.best, row.get("reached", -1.0))

    def write(self, folder: Path) -> None:
        state = {"iteration": self.iteration, "best": self.best}
        write_checkpoint(folder, lambda path: (path / "policy").mkdir(), {}, state)

    def close(self) -> None:
        self.closed += 1


class Sweep:
    """Takes reports, and asks for an end after so many of them, or at an iteration."""

    def __init__(self, run: CountingRun, folder: Path, most_reports: int = 99, stop_at: int = 99):
        self.run, self.folder = run, folder
        self.most_reports, self.stop_at = most_reports, stop_at
        self.reports: list[tuple[int, float, float]] = []
        """Iteration, score, and the best so far, of each report."""
        self.saved: list[int] = []

    def report(self, figures: Mapping[str, Any], save: Save | None) -> bool:
        assert save is not None
        save(self.folder / "state")
        self.reports.append((figures["iteration"], figures["score"], self.run.best))
        return len(self.reports) < self.most_reports

    def take_part(self, restore: Path | None = None) -> Mapping[str, Any]:
        ending = TrialEnding(
            lambda: self.run.iteration >= self.stop_at, lambda step, save: self.saved.append(step)
        )
        make_run = cast("Callable[[Any], PolicyRun]", lambda interrupting: self.run)
        return run_policy_trial(make_run, self.report, restore, ending)


def test_rows_with_a_score_are_reported_when_they_are_known_to_be_the_best(tmp_path: Path) -> None:
    sweep = Sweep(CountingRun(), tmp_path)
    assert sweep.take_part() == {"iteration": 6, "reached": 6.0}
    assert sweep.reports == [(2, 2.0, 2.0), (4, 4.0, 4.0), (6, 6.0, 6.0)]
    assert (sweep.saved, sweep.run.closed) == ([], 1)


def test_the_row_of_the_beginning_is_reported(tmp_path: Path) -> None:
    sweep = Sweep(CountingRun({"iteration": 0, "reached": 0.5}), tmp_path)
    sweep.take_part()
    assert [iteration for iteration, *_ in sweep.reports] == [0, 2, 4, 6]


def test_a_trial_that_is_told_to_return_takes_no_further_iteration(tmp_path: Path) -> None:
    sweep = Sweep(CountingRun(), tmp_path, most_reports=2)
    sweep.take_part()
    assert (sweep.run.iteration, sweep.saved, sweep.run.closed) == (4, [], 1)


@pytest.mark.parametrize("stop_at", [3, 4])
def test_a_stopped_trial_is_kept_where_it_is(tmp_path: Path, stop_at: int) -> None:
    sweep = Sweep(CountingRun(), tmp_path, stop_at=stop_at)
    sweep.take_part()
    assert (sweep.run.iteration, sweep.saved) == (stop_at, [stop_at])


def test_a_trial_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    begun = CountingRun()
    begun.iteration = 4
    begun.write(tmp_path / "begun")
    sweep = Sweep(CountingRun({"iteration": 0, "reached": 0.5}), tmp_path)
    sweep.take_part(tmp_path / "begun")
    assert [iteration for iteration, *_ in sweep.reports] == [6]


def test_an_error_of_the_run_closes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CountingRun()
    monkeypatch.setattr(run, "advance", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Sweep(run, tmp_path).take_part()
    assert run.closed == 1
