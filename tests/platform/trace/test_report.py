"""What a report and the pictures show of a trace run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from parley.platform.cli import main
from parley.platform.commands.tables import print_meanings, print_metrics
from parley.platform.report.figures import find_figure, shown_names
from parley.platform.report.report import write_report
from parley.platform.runs.run_folder import RunFolder
from parley.platform.trace.evaluation.measure import evaluate_path
from parley.platform.trace.evaluation.plots import plot_length_curve, plot_trace_curve
from parley.platform.trace.outcome import LENGTH_CURVE_FILE, keep_outcome
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.viewing.report import overall_figures
from parley.platform.trace.viewing.view import VIEW_FILE
from tests.platform.trace.trace_fixtures import make_config, save_untrained

ROWS: list[dict[str, object]] = [
    {
        "iteration": 100 * number,
        "train_loss": 1.0 / number,
        "exact_match": 0.3 * number,
        "least_exact_match": 0.2 * number,
        "illegal_rate": 0.5 / number,
        "nats_over_optimal": 0.8 / number,
    }
    for number in (1, 2, 3)
]


def make_run(folder: Path, config: TraceConfig, **result: Any) -> RunFolder:
    run = RunFolder.create(config, folder)
    for row in ROWS:
        run.append_metrics(row)
    if result:
        run.write_result({"status": "done", "seconds": 5.0, "checkpoint": None, **result})
    run.close()
    return run


def test_a_finished_run_is_reported_by_size_and_with_a_trace(tmp_path: Path) -> None:
    config = make_config()
    folder = tmp_path / "run"
    run = make_run(folder, config)
    checkpoint = save_untrained(run.checkpoints, config)
    metrics = keep_outcome(checkpoint.path, folder)
    assert Image.open(folder / LENGTH_CURVE_FILE).width > 500
    assert json.loads((folder / VIEW_FILE).read_text())["size"] == 2
    with RunFolder.resume(folder) as resumed:
        result = {"status": "done", "seconds": 5.0, "metrics": metrics, "checkpoint": None}
        resumed.write_result(result)
    page = write_report(folder).read_text()
    for text in ("By size of the input", "A held-out trace", "Exact match by size"):
        assert text in page
    assert 'class="band"' in page and page.count('class="token') >= 10
    assert "exact_match_by_length" not in page and "Exact match by length ci95" not in page
    assert "layer 0 counter 0" in page


def test_a_run_that_goes_on_has_curves_and_nothing_else(tmp_path: Path) -> None:
    make_run(tmp_path / "run", make_config())
    page = write_report(tmp_path / "run").read_text()
    assert "Exact traces" in page and "Above the optimal predictor" in page
    assert "By size of the input" not in page and "A held-out trace" not in page


def test_a_damaged_trace_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run", make_config(), metrics={})
    (tmp_path / "run" / VIEW_FILE).write_text("[")
    assert main(["report", str(tmp_path / "run")]) == 2
    assert "trace.json is damaged" in capsys.readouterr().err


def test_states_of_a_chain_are_a_heat_map(tmp_path: Path) -> None:
    language = {"name": "markov", "min_size": 6, "max_size": 6}
    config = make_config(language=language, evaluation={"sizes": []})
    metrics = {
        "exact_match": None,
        "kl_by_state": {"s0": 0.004, "s1": 0.02},
        "next_state_by_state": {"s0": {"s0": 0.125, "s1": 0.875}, "s1": {"s0": 0.5, "s1": 0.5}},
    }
    make_run(tmp_path / "run", config, metrics=metrics)
    page = write_report(tmp_path / "run").read_text()
    assert "States of the chain" in page and "0.020" in page and "0.875" in page
    assert "Next state, the true chain" in page


def test_overall_figures_leave_tables_out() -> None:
    metrics = {
        "exact_match": 1.0,
        "exact_match_ci95": [0.9, 1.0],
        "exact_match_by_length": {},
        "exact_match_by_length_ci95": {},
        "kl_by_state": {},
        "f1_by_maxim": {"quality": 1.0},
    }
    kept = overall_figures(metrics)
    assert kept.keys() == {"exact_match", "exact_match_ci95", "f1_by_maxim"}


@pytest.mark.parametrize("algorithm", ["next_token", "ppo"])
def test_learning_curves_of_both_algorithms(algorithm: str, tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    rows: list[dict[str, object]] = [
        *ROWS,
        {"iteration": 400, "sampled_exact_match": 0.5, "exact_match": None},
    ]
    plot_trace_curve(rows, make_config(algorithm=algorithm), path)
    assert Image.open(path).height > 500


@pytest.mark.parametrize("is_source", [False, True])
def test_length_curves_of_languages_and_sources(is_source: bool, tmp_path: Path) -> None:
    name = "nats_over_optimal_by_length" if is_source else "exact_match_by_length"
    metrics = {
        "exact_match": None if is_source else 0.5,
        name: {"10": 0.9, "2": 1.0, "100": 0.1},
        f"{name}_ci95": {"2": [0.9, 1.0], "10": [0.8, 0.95], "100": [0.05, 0.2]},
    }
    path = tmp_path / "curve.png"
    plot_length_curve(metrics, [2, 3], "addition", path)
    assert Image.open(path).width > 500


def test_tables_of_figures_keep_keys_in_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics(
        {
            "exact_match": None,
            "rate": 0.5,
            "rate_ci95": [0.4, 0.6],
            "rate_by_length": {3: 1.0, 12: 0.25},
            "rate_by_length_ci95": {3: [0.9, 1.0], 12: [0.2, 0.3]},
            "inputs_by_length": {3: 10, 12: 1_000},
            "nll_by_seat": {"a": 1.0},
            "matrix_by_length": {3: {"a": 1.0}},
        }
    )
    assert capsys.readouterr().out == (
        "exact_match  none\n"
        "rate         0.5  95 % interval 0.4 to 0.6\n"
        "nll_by_seat  a 1\n"
        "\n"
        "length  rate              inputs\n"
        "3       1     0.9 to 1    10\n"
        "12      0.25  0.2 to 0.3  1,000\n"
    )


def test_a_figure_stands_beside_what_it_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    metrics: dict[str, object] = {
        "exact_match": 1.0,
        "exact_match_ci95": [0.9647, 1.0],
        "exact_match_beyond_training": 0.0,
        "exact_match_beyond_training_ci95": [0.0, 0.037],
        "inputs_trained_sizes": 105,
        "inputs_beyond_training": 100,
        "trained_sizes": [1, 2],
        "env_steps": 7,
        "evaluation_env_steps": 7,
    }
    print_metrics(metrics)
    out = capsys.readouterr().out
    assert "exact_match                  1  95 % interval 0.9647 to 1, 105 held-out inputs\n" in out
    assert "95 % interval 0 to 0.037, 100 held-out inputs\n" in out
    assert "trained_sizes                1, 2\n" in out
    assert "\nenv_steps" not in out and "\nevaluation_env_steps" in out
    print_meanings(metrics)
    meanings = capsys.readouterr().out
    assert "whose written trace" in meanings and "exact_match of sizes beyond training" in meanings
    assert max(map(len, meanings.splitlines())) <= 100
    print_meanings({"brand_new": 1.0})
    assert capsys.readouterr().out == ""


def test_every_figure_of_a_trace_run_has_a_meaning(tmp_path: Path) -> None:
    config = make_config()
    checkpoint = save_untrained(tmp_path, config)
    metrics = evaluate_path(checkpoint.path, 4, 0)
    stems = {name.partition("_by_")[0] for name in shown_names(metrics)}
    assert [name for name in stems if not find_figure(name).meaning] == []


def test_wide_tables_go_on_below(capsys: pytest.CaptureFixture[str]) -> None:
    figures: dict[str, object] = {}
    for number in range(6):
        name = f"figure_of_some_length_{number}_by_length"
        figures |= {name: {1: 0.5}, f"{name}_ci95": {1: [0.25, 0.75]}}
    print_metrics(figures)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith("length ") for line in lines) == 2
