"""A sweep from its settings to its result, with a trial that only counts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from parley.platform.commands.running import tune_experiment
from parley.platform.engine.sweeps.record import read_records, write_records
from parley.platform.engine.sweeps.run import SweepFailedError
from parley.platform.engine.sweeps.table import print_trials
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.loading import load_experiment
from tests.ctrl_c import interrupt_when
from tests.platform.engine.sweeps.sweep_trials import (
    NUM_STEPS,
    make_config,
    read_pids,
    read_steps,
    read_trials,
    sweep,
)

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def finished(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a whole sweep of nine trials."""
    run = tmp_path_factory.mktemp("sweep") / "run"
    sweep(run, "sweep.space.dpo.learning_rate.grid=[1e-5, 1e-4, 1e-3]", "sweep.max_concurrent=2")
    return run


def read_log(run: Path) -> list[list[int]]:
    """Step, process and address of what is shared, of every step of every trial."""
    files = sorted((run / "trials").glob("*/steps.log"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def read_metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_trial_runs_once_and_is_recorded(finished: Path) -> None:
    trials = read_trials(finished)
    assert [trial["trial"] for trial in trials] == [f"{number:05d}" for number in range(9)]
    assert {trial["status"] for trial in trials} == {"done"}
    assert {(t["config"]["dpo.beta"], t["config"]["dpo.learning_rate"]) for t in trials} == {
        (beta, rate) for beta in (0.05, 0.1, 0.3) for rate in (1e-5, 1e-4, 1e-3)
    }
    for number, trial in enumerate(trials):
        assert read_steps(finished, number) == list(range(1, NUM_STEPS + 1))
        assert trial["metrics"]["step"] == NUM_STEPS
        assert trial["error"] is None


def test_metrics_count_the_measures_of_all_trials(finished: Path) -> None:
    rows = read_metrics(finished)
    assert [row["iteration"] for row in rows] == list(range(1, 9 * NUM_STEPS + 1))
    assert {row["trial"] for row in rows} == {f"{number:05d}" for number in range(9)}
    assert {"score", "evaluation", "seconds", "config", "cooperative_rate"} <= rows[0].keys()


def test_the_best_checkpoint_is_exported(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    assert result["status"] == "done"
    assert result["checkpoint"] == "checkpoints/best"
    metrics = result["metrics"]
    assert metrics["best_config"]["dpo.beta"] == metrics["beta"] == 0.1
    assert metrics["exported_step"] == NUM_STEPS
    assert (metrics["trials"], metrics["trials_done"], metrics["trials_failed"]) == (9, 9, 0)


def test_workers_live_from_trial_to_trial(finished: Path) -> None:
    assert len({pid for number in range(9) for pid in read_pids(finished, number)}) <= 2


def test_what_is_shared_is_unpacked_once_for_each_worker(finished: Path) -> None:
    places = {tuple(line[1:]) for line in read_log(finished)}
    assert len(places) == len({pid for pid, _ in places})


def test_so_many_checkpoints_are_kept_and_nothing_else(finished: Path) -> None:
    folder = finished / "trials" / "00000"
    kept = sorted(path.name for path in folder.glob("checkpoint_*"))
    assert kept == ["checkpoint_000004", "checkpoint_000005"]
    assert sorted(path.name for path in (finished / "trials").iterdir()) == [
        f"{number:05d}" for number in range(9)
    ]


def test_preparation_is_done_once(finished: Path) -> None:
    assert (finished / "prepared.log").read_text().splitlines() == ["prepared"]


def test_the_table_fits_eighty_columns_best_first(finished: Path) -> None:
    records = read_records(finished, finished / "trials", 2)
    stream = io.StringIO()
    print_trials(records, stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert max(map(len, lines)) <= 80
    assert "learning_rate" in lines[0]
    scores = [float(line.split()[4]) for line in lines[1:]]
    assert scores == sorted(scores, reverse=True)


def test_a_finished_sweep_is_resumed_without_running_anything(finished: Path) -> None:
    before = read_trials(finished), read_metrics(finished)
    shutil_target = finished / "checkpoints" / "best"
    (shutil_target / "state.json").unlink()
    shutil_target.rmdir()
    overrides = "sweep.space.dpo.learning_rate.grid=[1e-5, 1e-4, 1e-3]", "sweep.max_concurrent=2"
    sweep(finished, *overrides, resume=True)
    assert (read_trials(finished), read_metrics(finished)) == before
    assert read_steps(finished, 0) == list(range(1, NUM_STEPS + 1))


@pytest.mark.slow
def test_successive_halving_stops_the_worse_ones_early(tmp_path: Path) -> None:
    run = tmp_path / "run"
    sweep(
        run,
        "sweep.space.dpo.beta.grid=[0.12, 0.3, 0.4, 0.5]",
        "sweep.scheduler=asha",
        "sweep.asha.reduction_factor=2",
        "sweep.max_concurrent=1",
    )
    trials = read_trials(run)
    assert [trial["status"] for trial in trials] == ["done", *["stopped early"] * 3]
    assert [len(read_steps(run, number)) for number in range(4)] == [NUM_STEPS, 1, 1, 1]


@pytest.mark.slow
def test_a_population_copies_from_the_better_ones(tmp_path: Path) -> None:
    run = tmp_path / "run"
    sweep(
        run,
        "sweep.space.dpo.beta.grid=[0.12, 0.9]",
        "sweep.scheduler=pbt",
        "sweep.pbt.quantile=0.5",
        "sweep.pbt.perturbation_evaluations=1",
        sleep_s=0.1,
    )
    trials = read_trials(run)
    assert {trial["status"] for trial in trials} == {"done"}
    betas = {row["config"]["dpo.beta"] for row in read_metrics(run) if row["trial"] == "00001"}
    assert betas <= {0.12, 0.9}
    assert json.loads((run / "result.json").read_text())["metrics"]["best_trial"] == "00000"


@pytest.mark.slow
def test_optuna_draws_as_many_as_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    run = tmp_path / "run"
    sweep(
        run,
        "sweep.space.dpo.beta.grid=none",
        "sweep.space.dpo.beta.log_uniform=[0.01, 1.0]",
        "sweep.search=optuna",
        "sweep.num_samples=4",
    )
    trials = read_trials(run)
    assert len(trials) == 4
    assert all(0.01 <= trial["config"]["dpo.beta"] <= 1.0 for trial in trials)
    assert len({trial["config"]["dpo.beta"] for trial in trials}) == 4


def test_a_trial_larger_than_the_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.cpus_per_trial = 64"):
        sweep(tmp_path / "run", "sweep.cpus_per_trial=64")


def test_only_experiments_with_settings_to_search_are_tuned(tmp_path: Path) -> None:
    config = load_experiment("cartpole/imitate")
    with (
        RunFolder.create(config, tmp_path / "run") as folder,
        pytest.raises(ConfigError, match="dialogue/dpo"),
    ):
        tune_experiment(config, folder, False)


def test_records_come_back_as_they_were_written(finished: Path, tmp_path: Path) -> None:
    records = read_records(finished, finished / "trials", 2)
    write_records(finished, records)
    assert read_records(finished, finished / "trials", 2) != []
    assert make_config().sweep.ranges.keys() == records[0].config.keys()


@pytest.mark.slow
def test_a_sweep_whose_trials_all_fail_says_why_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    faults = {str(beta): (1, "raise") for beta in (0.05, 0.1, 0.3)}
    with pytest.raises(SweepFailedError, match="broken at step 1") as caught:
        sweep(run, "sweep.max_failures=0", faults=faults)
    assert str(caught.value).count("broken at step 1") == 1
    assert {trial["status"] for trial in read_trials(run)} == {"failed"}


def test_steps_between_measures_outlive_a_stop(tmp_path: Path) -> None:
    run = tmp_path / "run"
    interrupt_when(lambda: len(read_steps(run, 0)) == 2)
    with pytest.raises(KeyboardInterrupt):
        sweep(run, "sweep.max_concurrent=1", interval=NUM_STEPS, waits_at=2)
    kept = json.loads((run / "trials/00000/between/state/state.json").read_text())
    assert kept["step"] == 2
    assert read_trials(run)[0]["status"] == "running"
    sweep(run, "sweep.max_concurrent=1", resume=True, interval=NUM_STEPS)
    assert [read_steps(run, number) for number in range(3)] == [list(range(1, NUM_STEPS + 1))] * 3
    assert not list(run.glob("trials/*/between"))
