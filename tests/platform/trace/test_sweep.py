"""`parley tune trace/... algorithm=ppo`: trials that are trainings, and the best one measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parley.platform.cli import main
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.sweep import bundles

TINY = [
    "algorithm=ppo",
    "language.min_size=2",
    "language.max_size=3",
    "language.options.num_values=4",
    "model.embed_size=16",
    "model.heads=2",
    "model.layers=1",
    "model.ff_hidden=32",
    "model.num_states=4",
    "model.positions=rotary",
    "stream.holdout=0.3",
    "rollouts.num_env_runners=1",
    "rollouts.traces_per_env_runner=8",
    "ppo.num_iterations=4",
    "ppo.minibatch_traces=4",
    "ppo.num_epochs=1",
    "ppo.eval_interval=2",
    "evaluation.sizes=[2,3]",
    "evaluation.inputs_per_size=8",
    "evaluation.selection_inputs=8",
]


def test_a_trial_takes_a_cpu_for_each_env_runner() -> None:
    config = TraceConfig.model_validate(
        {"algorithm": "ppo", "rollouts": {"num_env_runners": 2}, "ppo": {"minibatch_traces": 4}}
    )
    assert bundles(config) == [{"CPU": 1.0}] * 3


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_trials_are_chosen_by_exact_traces(tmp_path: Path) -> None:
    run = tmp_path / "run"
    space = "sweep.space.ppo.learning_rate.grid=[1e-4, 1e-3]"
    assert main(["tune", "trace/sorting", "--run-dir", str(run), *TINY, space]) == 0
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    trials = json.loads((run / "trials.json").read_text())
    assert [trial["status"] for trial in trials] == ["done", "done"]
    assert all(trial["metrics"]["score"] == trial["metrics"]["exact_match"] for trial in trials)
    assert metrics["best_score"] == max(trial["metrics"]["score"] for trial in trials)
    assert {"exact_match", "exact_match_start", "illegal_rate_start"} <= metrics.keys()
    rows = [json.loads(line) for line in (run / "trials/00001/rows.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 2, 4]
    assert main(["evaluate", str(run)]) == 0
    assert main(["report", str(run)]) == 0
