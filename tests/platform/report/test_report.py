"""The report: well-formed, self-contained, honest figures, and a model's words stay words."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from parley.platform.cli import main
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.viewing.report import (
    darkest_nats,
    pair_dialogues,
    render_phrases,
    summarise_phrases,
)
from parley.platform.report.charts import (
    Chart,
    Line,
    Reference,
    nice_ticks,
    render_chart,
    short_number,
    thin_out,
)
from parley.platform.report.curve_table import Curve
from parley.platform.report.curves import make_charts
from parley.platform.report.style import STYLE
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.transcripts import (
    append_transcripts,
)
from parley.platform.settings.experiments import EXPERIMENTS, load_named
from parley.platform.settings.loading import replace_overrides
from tests.platform.report.pages import EVIL, Page, dialogue


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished dialogue run of forty iterations."""
    config = replace_overrides(DialogueDistortConfig(), [f"summary={EVIL}", "anchor.kl_budget=1.5"])
    with RunFolder.create(config, tmp_path / "run") as folder:
        for iteration in range(1, 41):
            row: dict[str, Any] = {
                "iteration": iteration,
                "tokens": iteration * 100,
                "competitor_nll": 3 + iteration / 40,
                "kl": math.nan if iteration == 7 else iteration / 50,
                "brand_new": float(iteration),
                "attractors": [
                    {"ngram": EVIL, "share": iteration / 100, "rise": 0.1, "rose_at": 3}
                ],
            }
            if iteration % 20 == 0:
                row["eval_competitor_nll"] = 3.5
            folder.append_metrics(row)
            append_transcripts(
                folder.path / "transcripts.jsonl", [dialogue(iteration, n) for n in (0, 9)]
            )
        metrics = {
            "competitor_nll_start": 3.0,
            "competitor_nll_start_ci95": [2.9, 3.1],
            "competitor_nll": 4.25,
            "competitor_nll_ci95": [4.1, 4.4],
            "by_part": {EVIL: 0.5},
            "note": None,
        }
        result = {"status": "done", "seconds": 75.0, "metrics": metrics, "checkpoint": None}
        folder.write_result(result)
    return folder.path


def report_of(run: Path) -> Page:
    assert main(["report", str(run)]) == 0
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_a_dialogue_run_as_one_page(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = report_of(run)
    assert capsys.readouterr().out.startswith("report: ")
    headings = [
        *("Final figures", "First and last dialogues", "Learning curves"),
        *("Attractors", "Settings", "Versions"),
    ]
    for heading in headings:
        assert heading in page.text
    assert "3 \u2192 4.25" in page.text
    assert "change +1.25" in page.text
    assert "95 % interval 4.10 to 4.40" in page.text
    assert "iteration 40" in page.text
    assert "budget 1.5" in page.text
    assert "Brand new" in page.text
    assert {"2.00 nats", "nan nats"} <= set(page.titles())
    assert "took 1m15s" in page.text
    assert "distorter auto, learns" in page.text and "competitor auto, frozen" in page.text
    first = (run / "report.html").read_bytes()
    report_of(run)
    assert (run / "report.html").read_bytes() == first


def test_what_a_model_says_stays_text_and_nothing_is_loaded(run: Path) -> None:
    page = report_of(run)
    source = (run / "report.html").read_text(encoding="utf-8")
    assert "<script" not in source
    assert page.text.count(EVIL) >= 20
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "a", "form", "base"}
    attributes = {name for _, attrs in page.tags for name in attrs}
    assert not attributes & {"src", "href", "srcset", "onload", "onclick", "action"}
    assert not re.search(r"https?:|//[a-z]|url\(|@import", source)
    (policy,) = [attrs for _, attrs in page.tags if "http-equiv" in attrs]
    assert str(policy["content"]).startswith("default-src 'none'")


def test_a_run_of_another_workflow_has_curves_and_figures(tmp_path: Path) -> None:
    with RunFolder.create(CartPolePPOConfig(), tmp_path / "run") as folder:
        for iteration in range(1, 6):
            row = {"iteration": iteration, "env_steps": iteration * 2048, "mean_return": 20.0}
            folder.append_metrics(row)
        metrics = {"mean_return": 480.0, "mean_return_ci95": [470.0, 490.0]}
        result = {"status": "done", "seconds": 9.0, "metrics": metrics, "checkpoint": None}
        folder.write_result(result)
    page = report_of(folder.path)
    assert "environment steps" in page.text
    assert "policy dhmm_gpt2" in page.text
    assert "95 % interval 470 to 490" in page.text
    assert "Attractors" not in page.text
    assert "dialogues" not in page.text


def test_a_run_that_has_not_ended_or_has_failed(tmp_path: Path) -> None:
    with RunFolder.create(DialogueDistortConfig(), tmp_path / "run") as folder:
        assert "unfinished" in report_of(folder.path).text
        folder.append_metrics({"iteration": 1, "kl": 0.5})
        assert "KL to the starting point" in report_of(folder.path).text
        result = {"status": "failed", "seconds": 1.0, "metrics": {}, "checkpoint": None}
        folder.write_result({**result, "error": EVIL})
    page = report_of(folder.path)
    assert EVIL in page.text
    assert "failed" in page.text


def test_the_file_can_be_named_and_a_checkpoint_means_its_run(run: Path, tmp_path: Path) -> None:
    checkpoint = run / "checkpoints" / "iteration_000040"
    checkpoint.mkdir()
    out = tmp_path / "mine.html"
    assert main(["report", str(checkpoint), "--out", str(out)]) == 0
    Page(out.read_text(encoding="utf-8"))
    assert not (run / "report.html").exists()


def test_wrong_targets_exit_with_2(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "absent")]) == 2
    assert main(["report", str(run), "--out", str(tmp_path / "no" / "x.html")]) == 2
    assert main(["report", str(run), "--out", str(tmp_path)]) == 2
    (run / "transcripts.jsonl").write_text("oops\n" + json.dumps({}) + "\n")
    assert main(["report", str(run)]) == 2
    err = capsys.readouterr().err
    for message in ("no run or checkpoint", "make it first", "name a file", "transcripts.jsonl:1"):
        assert message in err


def test_ticks_are_round_few_and_cover_the_range() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        low = float(rng.normal() * 10.0 ** rng.integers(-6, 7))
        high = low + float(rng.exponential() * 10.0 ** rng.integers(-4, 5))
        ticks = nice_ticks(low, high)
        step = ticks[1] - ticks[0]
        assert 3 <= len(ticks) <= 8
        assert ticks[0] <= low + step * 2e-3
        assert ticks[-1] >= high - step * 2e-3
        assert all(b - a == pytest.approx(step, rel=1e-3) for a, b in pairwise(ticks))
    assert nice_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert nice_ticks(0, 0) == pytest.approx([-1, -0.5, 0, 0.5, 1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (1.0, "1"), (0.5, "0.5"), (0.30000000000000004, "0.3"), (-0.03, "-0.03")),
        *((4.256, "4.26"), (99.96, "100"), (475.0, "475"), (2113.7, "2,114"), (1e-5, "1e-05")),
        *((12_000.0, "12k"), (150_400.0, "150k"), (1.5e6, "1.5M"), (2.5e9, "2.5G")),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text


def test_numbers_of_one_axis_share_a_letter() -> None:
    assert [short_number(n, 12_500) for n in (0, 2500, 12_500)] == ["0", "2.5k", "12.5k"]


def test_thinning_keeps_the_ends() -> None:
    points = [(float(i), 0.0) for i in range(1003)]
    thin = thin_out(points, 100)
    assert len(thin) <= 102
    assert (thin[0], thin[-1]) == (points[0], points[-1])
    assert thin_out(points[:3], 100) == points[:3]


@pytest.mark.parametrize("num_points", [1, 2, 39, 1000])
def test_a_chart_draws_inside_its_picture(num_points: int) -> None:
    points = [(float(i), math.sin(i) * 3) for i in range(num_points)]
    chart = Chart("a<b", "", "step", [Line("x&y", points)], (Reference("level", 5.0),), low=-4.0)
    source = render_chart(chart)
    page = Page(source)
    assert "a<b" in page.text
    numbers = [float(n) for d in re.findall(r'd="M([^"]*)"', source) for n in _coordinates(d)]
    assert all(0 <= number <= 360 for number in numbers)
    widths = [float(str(attrs["width"])) for tag, attrs in page.tags if tag == "rect"]
    assert sum(widths) == pytest.approx(310, abs=len(widths) * 0.1)
    assert len(widths) <= 151


def _coordinates(path: str) -> list[str]:
    return [number for pair in re.split("[LHv]", path) for number in pair.split()]


def test_rows_become_lines_without_what_is_missing() -> None:
    rows: list[dict[str, object]] = [
        {"iteration": 1, "kl": 0.1, "odd_one": True},
        {"iteration": 2, "kl": None, "eval_kl": 0.3, "text": "x"},
        {"iteration": 3, "kl": math.inf},
        {"iteration": 4, "kl": 0.4},
    ]
    settings: dict[str, object] = {
        "workflow": "dialogue",
        "algorithm": "ppo",
        "anchor": {"kl_budget": 2},
    }
    (chart,) = make_charts(rows, settings)
    assert [line.points for line in chart.lines] == [[(1, 0.1), (4, 0.4)], [(2, 0.3)]]
    assert chart.references == (Reference("budget", 2.0),)
    assert make_charts([], {}) == []
    other, unnamed = make_charts(rows, {"workflow": "cartpole"})
    assert (other.title, unnamed.title) == ("KL of an update", "Eval kl")


@pytest.mark.parametrize(
    ("low", "high"), [(0.0005, 0.0032), (1.25, 1.2504), (-0.03, 0.02), (0, 123_456), (1e-7, 4e-7)]
)
def test_labels_of_the_vertical_axis_fit_and_differ(low: float, high: float) -> None:
    source = render_chart(Chart("t", "", "iterations", [Line("a", [(1.0, low), (2.0, high)])]))
    found = re.findall(r'<text x="([\d.]+)" y="[\d.]+" class="end">([^<]+)</text>', source)
    labels = [text for x, text in found if float(x) < 180]
    assert len(labels) >= 3 and len(set(labels)) == len(labels)
    assert all(float(x) >= 6.7 * len(text) for x, text in found)
    (line,) = re.findall(r'class="line s0" d="M([\d.]+) ', source)
    assert float(line) > max(float(x) for x, text in found if text in labels)


def test_names_of_levels_do_not_cover_each_other() -> None:
    levels = (Reference("stops at", 495.0), Reference("solved", 475.0))
    source = render_chart(Chart("t", "", "x", [Line("a", [(1, 10), (2, 500)])], levels, low=0.0))
    places = [float(y) for y in re.findall(r'y="([\d.]+)" class="start"', source)]
    assert len(places) == 2 and places[1] - places[0] >= 12
    assert places[0] >= 12


def test_values_at_an_end_of_their_range_stay_in_it() -> None:
    source = render_chart(Chart("t", "", "x", [Line("a", [(1, 0), (2, 0)])], low=0.0))
    labels = re.findall(r'class="end">([^<]+)</text>', source)
    assert labels[0] == "0" and not any(label.startswith("-") for label in labels)


def test_sizes_and_steps_have_no_ticks_between_them() -> None:
    source = render_chart(Chart("t", "", "size", [Line("a", [(1, 0.1), (2, 0.2), (3, 0.3)])]))
    assert re.findall(r'class="mid">([^<]+)</text>', source) == ["1", "2", "size"]


def test_gradient_steps_are_called_so() -> None:
    rows: list[dict[str, object]] = [
        {"iteration": step, "steps_per_s": 4.0, "eval_seconds": 0.5, "other_token_rate": 0.0}
        for step in (50, 100)
    ]
    for algorithm, axis, speed in (
        ("imitate", "gradient steps", "gradient steps per second"),
        ("ppo", "iterations", "environment steps per second"),
    ):
        settings = {"workflow": "cartpole", "algorithm": algorithm}
        charts = {chart.title: chart for chart in make_charts(rows, settings)}
        assert {chart.x_label for chart in charts.values()} == {axis}
        assert charts["Speed"].unit == speed
        assert "Time of an evaluation" in charts and "Eval seconds" not in charts
        assert (charts["Decisions where no action is likeliest"].high) == 1.0


def test_the_return_has_the_levels_of_the_picture() -> None:
    rows: list[dict[str, object]] = [{"iteration": 1, "env_steps": 9, "mean_return": 20.0}]
    settings: dict[str, Any] = {
        "workflow": "cartpole",
        "algorithm": "ppo",
        "stop": {"target_return": 495.0},
    }
    (chart,) = make_charts(rows, settings)
    assert chart.references == (Reference("stops at", 495.0), Reference("solved", 475.0))
    (chart,) = make_charts(rows, settings | {"env": {"max_steps": 200}})
    assert chart.references == (Reference("stops at", 495.0),)


def test_old_rows_of_dpo_have_an_objective_that_was_called_loss() -> None:
    settings = {"workflow": "dialogue", "algorithm": "dpo"}
    old: dict[str, object] = {"iteration": 1, "loss": 3.0, "reward_chosen": 0.1, "eval_loss": 0.6}
    charts = {chart.title: chart for chart in make_charts([old], settings)}
    assert [line.points for line in charts["Objective"].lines] == [[(1, 3.0)]]
    assert [line.label for line in charts["DPO loss"].lines] == ["held out"]


def test_every_line_of_a_chart_has_a_colour() -> None:
    for row in EXPERIMENTS.values():
        curves = cast("tuple[Curve, ...]", load_named(row.curves))
        assert max(len(curve.keys) for curve in curves) <= 5
    assert all(f".line.s{index} " in STYLE for index in range(5))


def test_first_dialogues_stand_beside_the_last_with_the_same_opener() -> None:
    items = [
        *(dialogue(1, number, opener) for number, opener in enumerate((5, 6, 7))),
        dialogue(2, 3, 7),
        *(dialogue(3, number, opener) for number, opener in ((4, 8), (5, 7))),
    ]
    pairs = pair_dialogues(items)
    assert [tuple(item.number for item in pair) for pair in pairs] == [(2, 5), (0, 4)]
    assert pair_dialogues(items[:2]) == [(items[0],), (items[1],)]


def test_the_darkest_shade_is_a_whole_number_of_nats() -> None:
    assert darkest_nats([dialogue(1, 0, nll=9.3)]) == 10.0
    assert darkest_nats([dialogue(1, 0, nll=0.1)]) == 4.0
    assert darkest_nats([]) == 4.0


def test_phrases_are_summed_up_over_the_run() -> None:
    def item(ngram: str, share: float, rise: float, rose_at: int | None) -> dict[str, Any]:
        return {"ngram": ngram, "share": share, "rise": rise, "rose_at": rose_at}

    rows = [
        {"iteration": 1, "attractors": [item("how are", 0.3, 0.0, None)]},
        {
            "iteration": 2,
            "attractors": [item("the moon", 0.2, 0.2, 2), item("a b", 0.1, 0.02, None)],
        },
        {"iteration": 3, "attractors": [item("the moon", 0.5, 0.5, 2)]},
        {"iteration": 4, "attractors": [item("the moon", 0.4, 0.4, 2)]},
    ]
    (moon,) = summarise_phrases(rows)
    assert (moon.ngram, moon.rose_at, moon.peak_iteration) == ("the moon", 2, 3)
    assert (moon.peak_share, moon.peak_rise, moon.last_share) == (0.5, 0.5, 0.4)
    assert summarise_phrases([*rows, {"iteration": 5}])[0].last_share is None
    assert "No phrase rose" in render_phrases(summarise_phrases(rows[:1]))
    assert summarise_phrases([]) == []
