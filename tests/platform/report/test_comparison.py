"""`parley compare`: what differs between runs, and whether it is more than the intervals say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from parley.platform.cli import main
from parley.platform.report.comparison import Figure, subtract
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.loading import load_experiment


def make_run(
    folder: Path,
    *overrides: str,
    experiment: str = "cartpole/ppo",
    metrics: Mapping[str, object] | None = None,
    status: str = "done",
    returns: tuple[float, ...] = (10.0, 50.0, 90.0),
) -> Path:
    """A run's folder as a training leaves it."""
    with RunFolder.create(load_experiment(experiment, overrides), folder) as run:
        for number, value in enumerate(returns, start=1):
            row = {"iteration": number, "env_steps": 100 * number, "mean_return": value}
            run.append_metrics(row)
        if status:
            last = {"mean_return": returns[-1]}
            figures = metrics if metrics is not None else last
            run.write_result(
                {"status": status, "seconds": 3.0, "metrics": figures, "checkpoint": None}
            )
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compared(*runs: str) -> dict[str, object]:
    assert main(["compare", *runs, "--json", "c.json"]) == 0
    table: dict[str, object] = json.loads(Path("c.json").read_text())
    return table


def test_settings_figures_and_curves_stand_beside_each_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"mean_return": 400.0, "mean_return_ci95": [390.0, 410.0], "solved": True, "steps": 5}
    two = {"mean_return": 480.0, "mean_return_ci95": [460.0, 490.0], "solved": True, "steps": 6}
    make_run(Path("a"), "ppo.learning_rate=1e-3", metrics=one)
    make_run(Path("b"), "ppo.learning_rate=3e-4", "policy=mlp", metrics=two, returns=(20.0, 95.0))
    assert main(["compare", "a", "b", "--json", "c.json", "--out", "c.html"]) == 0
    table = json.loads(Path("c.json").read_text())
    assert table["settings"] == {"policy": ["dhmm_gpt2", "mlp"], "ppo.learning_rate": [1e-3, 3e-4]}
    figure = table["figures"]["mean_return"]
    assert figure["values"] == [400.0, 480.0]
    assert figure["ci95"] == [[390.0, 410.0], [460.0, 490.0]]
    assert figure["differences"][0] is None
    assert figure["differences"][1]["difference"] == 80.0
    low, high = figure["differences"][1]["ci95"]
    assert low == pytest.approx(80 - np.hypot(20, 10)) and high == pytest.approx(
        80 + np.hypot(10, 10)
    )
    assert figure["differences"][1]["beyond_intervals"] is True
    assert table["figures"]["steps"]["differences"][1]["beyond_intervals"] is None
    (curve,) = table["curves"].values()
    assert curve["x"] == "environment steps"
    assert curve["lines"] == {
        "A": [[100.0, 10.0], [200.0, 50.0], [300.0, 90.0]],
        "B": [[100.0, 20.0], [200.0, 95.0]],
    }
    told = capsys.readouterr().out
    assert "400 (390 to 410)" in told and "80 (57.64 to 94.14) higher, beyond the intervals" in told
    assert "10 → 90" in told and "20 → 95" in told
    page = Path("c.html").read_text()
    assert page.count('class="line s') == 2 and "beyond the intervals" in page
    assert "<script" not in page


def test_tables_and_missing_figures(folder: Path) -> None:
    by_length = {"3": 1.0, "9": 0.5}
    intervals = {"3": [0.9, 1.0], "9": [0.4, 0.6]}
    one = {
        "exact_match_by_length": by_length,
        "exact_match_by_length_ci95": intervals,
        "alone": 1.0,
    }
    two = {
        "exact_match_by_length": {**by_length, "9": 0.65},
        "exact_match_by_length_ci95": {**intervals, "9": [0.55, 0.75]},
    }
    make_run(Path("a"), experiment="trace/addition", metrics=one)
    make_run(Path("b"), experiment="trace/addition", metrics=two)
    table = compared("a", "b")
    figures = table["figures"]
    assert isinstance(figures, dict)
    assert [*figures] == ["exact_match_by_length.3", "exact_match_by_length.9"]
    assert figures["exact_match_by_length.3"]["differences"][1]["beyond_intervals"] is False
    # The intervals overlap, and still the difference is beyond them.
    assert figures["exact_match_by_length.9"]["differences"][1]["beyond_intervals"] is True
    assert "figures of one run only are left out: alone" in str(table["notes"])


def test_an_older_name_is_the_same_figure(folder: Path) -> None:
    make_run(Path("a"), metrics={"env_steps": 5})
    make_run(Path("b"), metrics={"env_steps": 7, "evaluation_env_steps": 7})
    assert [*compared("a", "b")["figures"]] == ["evaluation_env_steps"]  # type: ignore[misc]


@pytest.mark.parametrize("status", ["stopped", "failed", ""])
def test_a_run_that_is_not_done_has_curves_and_no_figures(
    status: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(Path("a"))
    make_run(Path("b"), status=status)
    table = compared("a", "b")
    assert table["figures"] == {}
    assert len(table["curves"]) == 1  # type: ignore[arg-type]
    assert f"B is {status or 'unfinished'}: it has no final figures" in capsys.readouterr().out


def test_runs_of_one_workflow_share_what_they_have(folder: Path) -> None:
    make_run(Path("a"))
    make_run(Path("b"), experiment="cartpole/imitate")
    table = compared("a", "b")
    settings = table["settings"]
    assert isinstance(settings, dict)
    assert settings["ppo.clip"] == [0.2, None]
    assert [*table["figures"]] == ["mean_return"]  # type: ignore[misc]


def test_what_is_measured_otherwise_is_said(folder: Path) -> None:
    make_run(Path("a"))
    make_run(Path("b"), "env.num_carts=2", "evaluation.interval_env_steps=0", "seed=3")
    notes = str(compared("a", "b")["notes"])
    assert "not measured alike (env.num_carts differ)" in notes


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["a"], "name 2 to 26 different runs; got 1"),
        (["a", "a"], "different runs; got 1"),
        (["a", "absent"], "no run folder absent"),
        (["a", "trace"], "different workflows have nothing in common"),
        (["a", "b", "--json", "no/c.json"], "--json no/c.json: there is no folder no"),
        (["a", "b", "--out", "no/c.html"], "--out no/c.html: there is no folder no"),
        (["a", "b", "c", "d", "e", "f", "--out", "c.html"], "--out draws 5 runs at most"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    argv: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(Path("a"))
    make_run(Path("b"))
    make_run(Path("trace"), experiment="trace/addition")
    assert main(["compare", *argv]) == 2
    assert message in capsys.readouterr().err


def test_the_interval_of_a_difference_holds_the_truth() -> None:
    """Of normal estimates it is the textbook's, and covers 95 %."""
    first, other = Figure(1.0, (0.0, 2.0)), Figure(4.0, (2.0, 6.0))
    difference = subtract(first, other)
    assert difference is not None and difference.interval is not None
    assert difference.interval == pytest.approx((3 - np.sqrt(5), 3 + np.sqrt(5)))
    rng, covered = np.random.default_rng(0), 0
    for one, two in rng.normal(size=(2000, 2)):
        difference = subtract(
            Figure(one, (one - 1.96, one + 1.96)), Figure(two, (two - 1.96, two + 1.96))
        )
        assert difference is not None
        covered += not difference.is_beyond
    assert 0.94 < covered / 2000 < 0.96
    assert subtract(None, other) is None
    unknown = subtract(Figure(1.0), other)
    assert unknown is not None and unknown.is_beyond is None


def test_comparing_loads_neither_torch_nor_ray(folder: Path) -> None:
    make_run(Path("a"))
    make_run(Path("b"))
    program = (
        "import sys; from parley.platform.cli import main\n"
        "code = main(['compare', 'a', 'b', '--out', 'c.html'])\n"
        "print(code, sorted({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
