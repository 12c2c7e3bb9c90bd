"""The benchmark runs, everyone draws equally much, and the goals are judged; times are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import dialogue_rollouts
from benchmarks.contestants.dialogue import ParleyPlayer, generate_alone, generate_together
from benchmarks.dialogue_rollouts import ALONE, ONE, TOGETHER, TWO, Result

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_quick_run_measures_every_contestant(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    call = [sys.executable, "-m", "benchmarks.dialogue_rollouts", "--quick", "--json", str(file)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "parley, 2 actors" in done.stdout and "bound by memory" in done.stdout
    tables = json.loads(file.read_text())
    assert [table["results"][0]["has_fixed_length"] for table in tables] == [True, False]
    for table in tables:
        assert [r["contestant"] for r in table["results"]] == [ALONE, TOGETHER, ONE, TWO]
        assert all(speed > 0 for r in table["results"] for speed in r["tokens_per_s"])
        assert all(0 < share < 1 for r in table["results"][2:] for share in r["outside_share"])


def test_with_fixed_lengths_everyone_draws_equally_much() -> None:
    plan, model, work = dialogue_rollouts.make_subject("tiny", quick=True)
    numbers = range(plan.num_rows)
    expected = plan.num_rows * plan.num_turns * plan.reply_tokens
    threads = torch.get_num_threads()
    assert generate_alone(model, work, numbers).num_tokens == expected
    assert generate_together(model, work, numbers).num_tokens == expected
    outcome = ParleyPlayer(model, work).play(numbers)
    assert outcome.num_tokens == expected
    assert 0 < outcome.forward_s < outcome.seconds
    assert torch.get_num_threads() == threads


def test_ratios_are_taken_within_a_repetition(capsys: pytest.CaptureFixture[str]) -> None:
    speeds = {ALONE: [1.0, 2.0], TOGETHER: [5.0, 20.0], ONE: [10.0, 40.0], TWO: [12.0, 60.0]}
    results = [
        Result("m", True, name, values, [1.0, 1.0], [0.2, 0.3] if name in (ONE, TWO) else [])
        for name, values in speeds.items()
    ]
    assert dialogue_rollouts.ratios(results) == {
        "one_over_alone": 15.0,
        "one_over_together": 2.0,
        "two_over_one": 1.35,
    }
    assert dialogue_rollouts.ratios(results, of_processor=True)["one_over_alone"] == 1.0
    dialogue_rollouts.print_results(dialogue_rollouts.QUICK_PLAN, results)
    printed = capsys.readouterr().out
    assert printed.count("reached") == 2 and printed.count("missed") == 2


def test_bounds_count_the_weights_that_are_multiplied() -> None:
    _, model, _ = dialogue_rollouts.make_subject("tiny", quick=True)
    bounds = dialogue_rollouts.measure_bounds(model, 4)
    assert bounds["weights"] == 300 * 32 + 2 * 12 * 32 * 32
    assert bounds["bandwidth_bound"] > 0 and bounds["arithmetic_bound"] > 0
