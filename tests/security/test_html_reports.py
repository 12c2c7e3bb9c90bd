"""Reports of every kind: what models, people, names and errors say never becomes markup."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parley.envs.trace.source import FIRST_SYMBOL
from parley.platform.cli import main
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.transcripts import (
    Transcript,
    TranscriptTurn,
    append_transcripts,
)
from parley.platform.settings.loading import replace_overrides
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.viewing.view import VIEW_FILE, Strip, TraceView
from tests.platform.cooperate.evaluation.report_fixtures import evaluation, trial
from tests.platform.report.pages import EVIL, Page
from tests.platform.trace.trace_fixtures import TINY

PLAIN = "abc"
PAYLOADS = [
    "<script>alert(1)</script>",
    "</title></style></svg></details><img src=x onerror=alert(1)>",
    "\"><img src=x onerror='alert(1)'>",
    "'><svg onload=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='alert(1)",
    "<!--",
    "<![CDATA[<b>]]>",
    "&lt;script&gt;&#60;b&#62;",
    "<a href='javascript:alert(1)'>",
    "\x00<b>\u2028<b>",
]
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "article"),
    *("h1", "h2", "h3", "p", "div", "span", "b", "i", "u", "details", "summary", "figure"),
    *("figcaption", "svg", "path", "circle", "rect", "text", "ul", "li", "br"),
    *("table", "tr", "th", "td"),
}
FORBIDDEN = {"src", "href", "srcset", "action", "formaction", "srcdoc", "xlink:href", "autofocus"}


def replace_words(value: Any, word: str) -> Any:
    """Every text of a JSON value, and every key beside the known ones, becomes `word`."""
    if isinstance(value, str):
        return word
    if isinstance(value, list):
        return [replace_words(item, word) for item in value]
    if isinstance(value, dict):
        return {(word if key == EVIL else key): replace_words(v, word) for key, v in value.items()}
    return value


def cartpole_run(folder: Path, word: str) -> ExperimentConfig:
    config = replace_overrides(CartPolePPOConfig(), [f"summary={json.dumps(word)}"])
    with RunFolder.create(config, folder) as run:
        for iteration in (1, 2, 3):
            run.append_metrics({"iteration": iteration, "mean_return": 9.0, word: float(iteration)})
        figures = {"mean_return": 9.0, word: 3.0, f"{word}_ci95": [2.0, 4.0], "by": {word: word}}
        result = {"status": "failed", "seconds": 9.0, "metrics": figures, "checkpoint": None}
        run.write_result({**result, "error": word, "versions": {word: word, "torch": word}})
    return config


def dialogue_run(folder: Path, word: str) -> ExperimentConfig:
    names = [f"{key}={json.dumps(word)}" for key in ("competitor", "distorter", "summary")]
    config = replace_overrides(DialogueDistortConfig(), names)
    turns = [
        TranscriptTurn("opener", word, [word], [1]),
        TranscriptTurn(word, word, [word, word], [2, 3], [2.0, 9.0], {"total": 1.5, word: 1.0}),
    ]
    with RunFolder.create(config, folder) as run:
        for iteration in (1, 2, 3):
            phrase = {"ngram": word, "share": 0.5, "rise": 0.1, "rose_at": 1}
            run.append_metrics(
                {"iteration": iteration, "kl": 0.1, word: 1.0 * iteration, "attractors": [phrase]}
            )
            said = Transcript(iteration, 0, word, turns, terminated=True, truncated=False)
            append_transcripts(folder / "transcripts.jsonl", [said])
    return config


def sweep_run(folder: Path, word: str) -> ExperimentConfig:
    names = [f"{key}={json.dumps(word)}" for key in ("model", "summary", "data.path")]
    config = replace_overrides(DialogueDPOConfig(), names)
    with RunFolder.create(config, folder) as run:
        for step in (50, 100):
            for name in (word, "00001"):
                figures = {"eval_loss": 0.6, "cooperative_rate": step / 200}
                run.append_metrics({"iteration": step, "step": step, "trial": name, **figures})
        run.write_result({"status": "done", "seconds": 9.0, "metrics": {}, "checkpoint": None})
    measured = replace_words(evaluation(), word)
    (folder / "evaluation.json").write_text(json.dumps(measured))
    trials = [trial(0, 0.1, 0.5), trial(1, word, 0.4), trial(2, 0.3, None, "failed")]
    trials[0]["trial"] = word
    trials[1]["config"][f"dpo.{word}"] = word
    trials[2] |= {"error": word, "status": f"failed {word}"}
    (folder / "trials.json").write_text(json.dumps(trials))
    return config


def trace_run(folder: Path, word: str) -> ExperimentConfig:
    markov = {"name": "markov", "min_size": 6, "max_size": 8}
    config = TraceConfig.model_validate({**TINY, "language": markov, "summary": word})
    view = TraceView(
        language=word,
        size=2,
        is_source=False,
        num_given=1,
        written=[word, word, "a"],
        true=[word, "b", word],
        states=[word, word, ""],
        illegal_at=2,
        is_exact=False,
        verdict=word,
        strips=[Strip(word, 3, [0, 1, 2], [0.5, 0.6, 0.7])],
    )
    known = config.language.build().alphabet[FIRST_SYMBOL]
    figures = {
        "exact_match_by_length": {"1": 0.5, "2": 0.25},
        "kl_by_state": {word: 0.5, "b": 0.1},
        "next_state_by_state": {word: {word: 0.5, "b": 0.5}, known: {word: 1.0}},
    }
    with RunFolder.create(config, folder) as run:
        run.append_metrics({"iteration": 1, "train_loss": 1.0})
        result = {"status": "done", "seconds": 9.0, "metrics": figures, "checkpoint": None}
        run.write_result(result)
    (folder / VIEW_FILE).write_text(json.dumps(view.to_json()))
    return config


def read_page(make: Callable[[Path, str], ExperimentConfig], folder: Path, word: str) -> Page:
    make(folder, word)
    assert main(["report", str(folder)]) == 0
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def shape(page: Page) -> Counter[tuple[str, tuple[str, ...]]]:
    """How often which element stands there with which attributes."""
    return Counter((tag, tuple(sorted(attributes))) for tag, attributes in page.tags)


@pytest.mark.parametrize("make", [cartpole_run, dialogue_run, sweep_run, trace_run])
def test_no_word_makes_an_element_or_an_attribute(
    make: Callable[[Path, str], ExperimentConfig], tmp_path: Path
) -> None:
    """The page of a run full of markup has the elements of the page of a run without any."""
    expected = shape(read_page(make, tmp_path / "plain", PLAIN))
    assert {tag for tag, _ in expected} <= ALLOWED
    for number, payload in enumerate(PAYLOADS):
        page = read_page(make, tmp_path / str(number), payload)
        assert shape(page) == expected, payload
        names = {name for _, attributes in page.tags for name in attributes}
        assert not names & FORBIDDEN
        assert not any(name.startswith("on") for name in names)
        words = "".join([page.text, *page.titles()])
        assert payload.replace("\x00", "").strip("\u2028")[:3] in words  # shown as what it is


def test_a_folder_and_an_error_are_text(tmp_path: Path) -> None:
    """A folder may have any name that has no slash."""
    name = '"><img src=x onerror=alert(1)>'
    page = read_page(cartpole_run, tmp_path / name, PLAIN)
    assert name in page.text
    assert shape(page) == shape(read_page(cartpole_run, tmp_path / "plain", PLAIN))


def test_the_page_forbids_what_would_run_all_the_same(tmp_path: Path) -> None:
    """A second wall: the browser is told to load nothing and to run no script."""
    page = read_page(dialogue_run, tmp_path / "run", PAYLOADS[0])
    (policy,) = [attributes for _, attributes in page.tags if "http-equiv" in attributes]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert "default-src 'none'" in str(policy["content"])
    assert "script-src" not in str(policy["content"])
