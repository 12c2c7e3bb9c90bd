"""The report of generators and sweeps: every figure has its place, words stay words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from parley.platform.cli import main
from parley.platform.cooperate.evaluation.metrics import EVALUATION_FILE
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.report.heat_maps import Spot, render_heat_map
from parley.platform.report.sweeps import make_trial_charts, read_trials, render_sweep
from parley.platform.runs.run_folder import TRIALS_FILE, RunFolder
from parley.platform.settings.loading import replace_overrides
from tests.platform.cooperate.evaluation.report_fixtures import METRICS, evaluation, trial
from tests.platform.report.pages import EVIL, Page


@pytest.fixture
def run(tmp_path: Path) -> Path:
    config = replace_overrides(DialogueDPOConfig(), [f"summary={EVIL}"])
    with RunFolder.create(config, tmp_path / "run") as folder:
        for step in (50, 100):
            folder.append_metrics(
                {
                    "iteration": step,
                    "step": step,
                    "loss": 0.5,
                    "eval_loss": 0.6,
                    "cooperative_rate": step / 200,
                    "violation_rate_by_maxim": {"quality": 0.1},
                    "log_prob_chosen": -50.0,
                    "log_prob_rejected": -60.0,
                }
            )
        result = {"status": "done", "seconds": 9.0, "metrics": METRICS, "checkpoint": None}
        folder.write_result(result)
    (folder.path / EVALUATION_FILE).write_text(json.dumps(evaluation()))
    return folder.path


def report_of(run: Path) -> tuple[Page, str]:
    assert main(["report", str(run)]) == 0
    source = (run / "report.html").read_text(encoding="utf-8")
    return Page(source), source


def write_trials(run: Path, entries: object) -> Path:
    (run / TRIALS_FILE).write_text(json.dumps(entries))
    return run


def test_a_generators_report_has_all_parts(run: Path) -> None:
    page, _ = report_of(run)
    for heading in ("Final figures", "Cooperation", "Answers", "Learning curves", "Settings"):
        assert heading in page.text
    assert "0.700 \u2192 0.900" in page.text
    assert "95 % interval 0.850 to 0.950" in page.text
    assert "not met quality violations below 10%: 12.5% (11.0% to 14.0%)" in page.text
    assert "undecided better than the untuned model: 90.0% against 70.0%" in page.text
    assert "met cooperative rate above 65%: 90.0% (85.0% to 95.0%)" in page.text
    assert "No verdict" not in page.text
    assert "97.5%" in page.text
    assert "1,234.5" in page.text
    assert "Show 2 more prompts" in page.text
    assert "Log-probabilities, training" in page.text
    assert "DPO loss" in page.text
    assert "Trials" not in page.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"no_verdict": f"too few {EVIL}"}, f"No verdict: too few {EVIL}"),
        ({"prompts": 16}, "No verdict: 16 prompts are too few for the judge, which needs 20"),
        ({"cooperative_rate_human_ci95": [0.02, 0.08]}, "2.0% to 8.0% of people's replies"),
    ],
)
def test_a_report_without_a_verdict_says_so_first(
    run: Path, changes: dict[str, Any], reason: str
) -> None:
    content = evaluation() | {"metrics": METRICS | changes}
    (run / EVALUATION_FILE).write_text(json.dumps(content))
    page, _ = report_of(run)
    assert 0 < page.text.index(reason) < page.text.index("Final figures")
    assert "0.700 \u2192 0.900" not in page.text
    assert page.text.count("undecided") == 3
    assert main(["watch", str(run), "--out", str(run / "answers.txt")]) == 0
    assert (run / "answers.txt").read_text().startswith("No verdict: ")


def test_what_was_said_stays_text(run: Path) -> None:
    write_trials(run, [trial(0, 0.1, 0.5), trial(1, EVIL, None, "failed")])
    page, source = report_of(run)
    assert "<script" not in source
    assert page.text.count(EVIL) >= 30
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "a", "form", "base"}
    assert not re.search(r"https?:|//[a-z]|url\(|@import", source)


def test_a_run_without_an_evaluation_shows_its_result(run: Path) -> None:
    (run / EVALUATION_FILE).unlink()
    page, _ = report_of(run)
    assert "0.700 \u2192 0.900" in page.text
    assert "Answers" not in page.text


@pytest.mark.parametrize("name", [EVALUATION_FILE, TRIALS_FILE])
@pytest.mark.parametrize("text", ["{", "[1]", '{"metrics": {}}', '"x"'])
def test_damaged_files_are_named(
    run: Path, name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / name).write_text(text)
    assert main(["report", str(run)]) == 2
    err = capsys.readouterr().err
    assert f"{name} is damaged" in err
    assert "delete it" in err


def test_a_sweeps_trials_stand_by_score_with_a_heat_map(run: Path) -> None:
    entries = [
        *(trial(n, beta, 0.5 + n / 10) for n, beta in enumerate((0.1, 0.1, 0.3, 0.3))),
        trial(4, 0.3, None, "failed"),
    ]
    trials = read_trials(write_trials(run, entries))
    assert [item.name for item in trials] == ["00003", "00002", "00001", "00000", "00004"]
    page = Page(render_sweep(trials))
    cells = [attrs for tag, attrs in page.tags if tag == "td" and "cell" in str(attrs.get("class"))]
    assert [cell["style"] for cell in cells[:4]] == [
        f"--n:{share}" for share in ("0.00", "0.33", "0.67", "1.00")
    ]
    assert [("best" in str(cell["class"])) for cell in cells[:4]] == [False, False, False, True]
    assert "beta \\ learning rate" in page.text
    assert page.text.count("1m01s") == 5
    assert EVIL in page.titles()
    report, _ = report_of(run)
    assert "Trials" in report.text


def test_one_searched_setting_has_no_map_and_values_may_be_words() -> None:
    assert "<svg" not in render_heat_map("t", "a", "b", [Spot("x", True, 0.5, "")])
    page = Page(render_heat_map("t", "a", "b", [Spot("x", 1, 0.5, ""), Spot("y", 2, 0.7, "")]))
    assert page.text.count("0.") == 2


def test_drawn_settings_become_circles_inside_the_picture() -> None:
    spots = [Spot(10.0**-n, 0.1 * n, n / 7, f"trial {EVIL} {n}") for n in range(6)]
    source = render_heat_map("Score", "beta", "learning rate", spots)
    page = Page(source)
    circles = [attrs for tag, attrs in page.tags if tag == "circle"]
    assert len(circles) == 6
    assert all(8 <= float(str(c["cx"])) <= 332 and 8 <= float(str(c["cy"])) <= 212 for c in circles)
    steps = sorted(float(str(c["cy"])) for c in circles)
    assert steps[1] - steps[0] == pytest.approx(steps[-1] - steps[-2], abs=0.2)  # logarithmic
    assert "best" in str(circles[-1]["class"])
    assert "1e-05" in page.text
    alone = render_heat_map("Score", "a", "b", [Spot(1, 2, 0.5, "")])
    assert "0.500" in alone


def test_the_best_trials_have_curves(run: Path) -> None:
    trials = read_trials(write_trials(run, [trial(n, n, n / 10) for n in range(8)]))
    rows: list[dict[str, object]] = [
        {"iteration": i, "trial": f"{i % 8:05d}", "step": 50 * (1 + i // 8), "score": i / 20}
        for i in range(16)
    ]
    (chart,) = make_trial_charts(rows, trials)
    assert chart.x_label == "gradient steps"
    assert len(chart.lines) == 5
    assert chart.lines[0].label == "00007: beta 7, learning rate 0.0002"
    assert chart.lines[0].points == [(50, 7 / 20), (100, 15 / 20)]
    assert make_trial_charts([], trials) == []
