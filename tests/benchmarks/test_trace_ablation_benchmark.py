"""The comparison with and without the filter: equal parameters, one table, nothing run twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import trace_ablation
from benchmarks.trace_ablation import ROWS, Outcome, count_parameters, load, matching_width, table


@pytest.mark.parametrize("name", ROWS)
def test_both_models_have_as_many_parameters(name: str) -> None:
    config = load(ROWS[name])
    with_filter = count_parameters(config, "dhmm_gpt2", config.model.ff_hidden)
    without = count_parameters(config, "gpt2", matching_width(config))
    assert without == pytest.approx(with_filter, rel=0.005)


def test_the_plain_model_gets_positions_where_the_filter_needs_none() -> None:
    assert "model.positions=rotary" in trace_ablation.overrides_of(ROWS["parity"], "gpt2", 0)
    assert "model.positions=rotary" not in trace_ablation.overrides_of(
        ROWS["parity"], "dhmm_gpt2", 0
    )


def test_the_table_shows_every_size_with_its_seeds() -> None:
    outcomes = [
        Outcome("parity", policy, seed, 10, {"exact_match_by_length": {"32": exact, "320": 0.5}})
        for policy, seed, exact in (("dhmm_gpt2", 0, 1.0), ("dhmm_gpt2", 1, 0.9), ("gpt2", 0, 0.5))
    ]
    source = {"exact_match": None, "nats_over_optimal_by_length": {"64": 0.001}}
    text = table([*outcomes, Outcome("markov", "gpt2", 0, 9, source)])
    assert "| parity | exact_match | 32 | 0.9500 (1.0000, 0.9000) | 0.5000 (0.5000) |" in text
    assert "| markov | nats_over_optimal | 64 | - | 0.0010 (0.0010) | 0 / 9 |" in text


def test_a_finished_run_is_read_and_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "parity-gpt2-0"
    folder.mkdir()
    (folder / "config.toml").write_text('workflow = "trace"\nalgorithm = "next_token"\n')
    metrics = {"exact_match_by_length": {"3": 1.0}}
    (folder / "result.json").write_text(json.dumps({"status": "done", "metrics": metrics}))
    monkeypatch.setattr(trace_ablation, "parley", lambda command: pytest.fail(str(command)))
    outcome = trace_ablation.run(ROWS["parity"], "gpt2", 0, tmp_path, quick=False)
    assert outcome.figure("exact_match", 3) == 1.0
