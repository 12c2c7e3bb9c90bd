"""What a report shows of a generator: the systems side by side, preferences, answers to read.

Drawn from `evaluation.json`; what models and people said is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, cast

from parley.platform.cooperate.evaluation.metrics import (
    EVALUATION_FILE,
    TUNED,
    check_criteria,
    find_obstacle,
)
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.errors import InputError, display_path
from parley.platform.maxims.text.exchange import MAXIMS
from parley.platform.records import Metrics
from parley.platform.report.curves import finite
from parley.platform.report.figures import INTERVAL_SUFFIX, find_figure
from parley.platform.report.page import START_SUFFIX, render_section
from parley.platform.report.sections import Rows, Sections, final_figures, short_model
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.transcripts import printable

HEADLINES = (
    *("cooperative_rate", "cooperative_rate_reranked", "cooperative_rate_repaired"),
    *("cooperative_rate_human", "preference_accuracy", "preference_accuracy_length_controlled"),
    *("chosen_perplexity_ratio", "eval_loss", "distinct_2", "response_words"),
    *("repeated_responses", "looping_words"),
)
"""The figures on tiles; all others stand in the tables."""
DETAILS = {
    "untuned": "the reference that DPO began from",
    "base": "before supervised tuning",
    "human": "the chosen responses",
    "rejected": "the rejected responses",
    "tuned": "greedy",
    "tuned_beam": "beam search",
    "tuned_sampled": "one drawn response",
    "reranked": "best of n by the detector",
    "repaired": "re-ranked, then one repair pass",
    "untuned_reranked": "best of n by the detector",
}
"""What a system is, in a few words."""
DASH = "\N{EM DASH}"


def report_sections(run: RunFolder, rows: Rows, result: Mapping[str, Any]) -> Sections:
    """What the report of a DPO run or sweep shows; see `report.sections`."""
    config, evaluation = cast("DialogueDPOConfig", run.config), read_evaluation(run.path)
    metrics = evaluation["metrics"] if evaluation else final_figures(result)
    parts = []
    if evaluation:
        parts.append(render_section("Cooperation", render_evaluation(evaluation)))
        if evaluation["samples"]:
            parts.append(render_section("Answers", render_answers(evaluation["samples"])))
    return Sections(
        headline_figures(metrics),
        all_figures=metrics,
        facts={"model": short_model(config.model)},
        obstacle=render_obstacle(metrics),
        before_curves=parts,
    )


def read_evaluation(folder: Path) -> Metrics | None:
    """What the latest evaluation of a run found; None where there was none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / EVALUATION_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("not a table")
        for part in ("table", "samples"):
            if not all(isinstance(entry, dict) for entry in content[part]):
                raise TypeError(f"{part} is no list of tables")
        return {"metrics": dict(content["metrics"]), **content}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{display_path(path)} is damaged ({type(error).__name__}: {error}); delete it, or "
            f"write it anew by parley evaluate"
        ) from error


def headline_figures(metrics: Mapping[str, Any]) -> Metrics:
    """The figures for tiles; the untuned model's stand as the start of the tuned one's.

    Metrics of another kind of run are given back whole. Without a verdict the rates that the judge
    gave stand in the table alone.
    """
    if "preference_accuracy" not in metrics:
        return dict(metrics)
    shown: Metrics = {}
    is_judged = not obstacle_of(metrics)
    for name in HEADLINES:
        if name.startswith("cooperative_rate") and not is_judged:
            continue
        for key in (name, name + INTERVAL_SUFFIX):
            if key in metrics:
                shown[key] = metrics[key]
    for name in (
        "cooperative_rate",
        "distinct_2",
        "response_words",
        "repeated_responses",
        "looping_words",
    ):
        if name in shown and f"{name}_untuned" in metrics:
            shown[name + START_SUFFIX] = metrics[f"{name}_untuned"]
    return shown


def obstacle_of(metrics: Mapping[str, Any]) -> str:
    """Why the figures of an evaluation give no verdict; empty where they do, or are of no judge."""
    try:
        return find_obstacle(metrics)
    except (KeyError, TypeError, ValueError):
        return ""


def render_obstacle(metrics: Mapping[str, Any]) -> str:
    """What stands before all figures where the judge gives no verdict; else empty."""
    obstacle = obstacle_of(metrics)
    return f'<p class="error">No verdict: {escape(obstacle)}</p>' if obstacle else ""


def render_evaluation(evaluation: Mapping[str, Any]) -> str:
    """The criteria, the table of systems, and the preference accuracy by maxim."""
    metrics = evaluation["metrics"]
    source = escape(str(evaluation.get("source", "")))
    parts = [f'<p class="soft">{source}</p>'] if source else []
    parts.append(_render_criteria(metrics))
    parts.append(_render_systems(evaluation["table"]))
    parts.append(_render_preferences(metrics))
    return "\n".join(part for part in parts if part)


def render_answers(samples: Sequence[Mapping[str, Any]]) -> str:
    """Prompts with the answers of all systems; the first few open, the others on request."""
    cards = [_render_sample(sample) for sample in samples]
    few, more = cards[:NUM_OPEN], cards[NUM_OPEN:]
    parts = [f'<div class="pair">{"".join(few)}</div>']
    if more:
        parts.append(
            f"<details><summary>Show {len(more)} more prompts</summary>"
            f'<div class="pair">{"".join(more)}</div></details>'
        )
    return "\n".join(parts)


CHIPS = {True: "good", False: "bad", None: ""}
"""How a verdict is coloured."""
NUM_OPEN = 6
"""Prompts that are shown without asking."""


def _render_criteria(metrics: Mapping[str, Any]) -> str:
    try:
        criteria = check_criteria(metrics)
    except (KeyError, TypeError, ValueError):
        return ""
    items = "".join(
        f'<li><span class="chip {CHIPS[c.is_met]}">{c.mark}</span> {escape(c.text)}</li>'
        for c in criteria
    )
    return f'<ul class="criteria">{items}</ul>'


def _render_systems(rows: Sequence[Mapping[str, Any]]) -> str:
    names = "".join(f'<th class="number">{maxim}</th>' for maxim in MAXIMS)
    head = (
        '<tr><th>responses</th><th class="number">cooperative</th>'
        f'{names}<th class="number">own detector</th><th class="number">perplexity</th>'
        '<th class="number">distinct-2</th><th class="number">words</th>'
        '<th class="number">repeated</th><th class="number">looping</th></tr>'
    )
    body = "".join(map(_system_row, rows))
    return (
        f'<div class="card scroll"><table class="systems">{head}{body}</table></div>'
        '<p class="soft">Cooperative: the independent judge flags nothing; the maxims: what it '
        "flags. Own detector: cooperative by the detector that ranks and repairs. Perplexity: of "
        "the responses under the reference. Repeated: given word for word to an earlier "
        "prompt. Looping: runs of four words that stood earlier in the same response.</p>"
    )


def _system_row(row: Mapping[str, Any]) -> str:
    name = str(row.get("name", ""))
    rate = finite(row.get("cooperative"))
    violations = row.get("violations") or {}
    flags = "".join(f'<td class="number">{_percent(violations.get(m))}</td>' for m in MAXIMS)
    marked = ' class="marked"' if name == TUNED else ""
    perplexity = finite(row.get("perplexity"))
    return (
        f"<tr{marked}><td><b>{escape(name.replace('_', ' '))}</b>"
        f'<div class="soft small">{escape(DETAILS.get(name, ""))}</div></td>'
        f'<td class="number"><b>{_percent(rate)}</b>'
        f"{_interval_bar(rate, row.get('cooperative_ci95'))}</td>{flags}"
        f'<td class="number">{_percent(row.get("detector_cooperative"))}</td>'
        f'<td class="number">{DASH if perplexity is None else f"{perplexity:,.1f}"}</td>'
        f'<td class="number">{_number(row.get("distinct_2"), 2)}</td>'
        f'<td class="number">{_number(row.get("words"), 1)}</td>'
        f'<td class="number">{_percent(row.get("repeated"))}</td>'
        f'<td class="number">{_percent(row.get("looping"))}</td></tr>'
    )


def _render_preferences(metrics: Mapping[str, Any]) -> str:
    by_maxim = metrics.get("preference_accuracy_by_maxim")
    if not isinstance(by_maxim, Mapping) or not by_maxim:
        return ""
    intervals = metrics.get("preference_accuracy_by_maxim_ci95") or {}
    counts = metrics.get("preference_accuracy_pairs") or {}
    rows = [
        (name, value, intervals.get(name), counts.get(name)) for name, value in by_maxim.items()
    ]
    rows += _length_rows(metrics)
    for label, name in (
        ("all pairs", "preference_accuracy"),
        ("length-controlled", "preference_accuracy_length_controlled"),
        ("all, by likelihood per token alone", "likelihood_accuracy_per_token"),
    ):
        if name in metrics:
            count = metrics.get(find_figure(name).count)
            rows.append((label, metrics[name], metrics.get(name + INTERVAL_SUFFIX), count))
    body = "".join(
        f'<tr><td>{escape(str(name))}</td><td class="number">{_percent(value)}</td>'
        f"<td>{_interval_bar(finite(value), interval)}</td>"
        f'<td class="number">{"" if count is None else escape(str(count))}</td></tr>'
        for name, value, interval, count in rows
    )
    return (
        "<h3>Preference accuracy by the violated maxim and by length</h3>"
        '<div class="card scroll"><table><tr><th>rejected response violates</th>'
        '<th class="number">accuracy</th><th>95 % interval</th><th class="number">pairs</th></tr>'
        f"{body}</table></div>"
        '<p class="soft">Length-controlled: longer and shorter chosen responses weigh the same, '
        "pairs of equal length keep their share; a rule on length alone gets 50 %.</p>"
    )


def _length_rows(metrics: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any]]:
    """Label, accuracy, interval and number of pairs, by which response is longer."""
    by_length = metrics.get("preference_accuracy_by_length") or {}
    intervals = metrics.get("preference_accuracy_by_length_ci95") or {}
    counts = metrics.get("preference_accuracy_pairs_by_length") or {}
    labels = {
        "longer": "chosen response longer",
        "shorter": "chosen response shorter",
        "equal": "both as long",
    }
    return [
        (labels.get(name, name), value, intervals.get(name), counts.get(name))
        for name, value in by_length.items()
    ]


def _render_sample(sample: Mapping[str, Any]) -> str:
    answers = sample.get("answers") or {}
    rows = "".join(
        f'<div class="answer{" marked" if name == TUNED else ""}">'
        f'<div class="who soft">{escape(str(name).replace("_", " "))}</div>'
        f'<div><span class="said">{_text(answer.get("text"))}</span> '
        f"{_chips(answer.get('violations') or ())}</div></div>"
        for name, answer in answers.items()
    )
    return (
        '<article class="card dialogue">'
        f'<div class="asked">{_text(sample.get("context"))}</div>'
        f'<div class="soft small">evidence: {_text(sample.get("evidence"))}</div>{rows}</article>'
    )


def _chips(violations: Sequence[object]) -> str:
    if not violations:
        return '<span class="chip good">cooperative</span>'
    return " ".join(f'<span class="chip bad">{escape(str(maxim))}</span>' for maxim in violations)


def _text(text: object) -> str:
    return escape(printable(str(text or ""))) or '<i class="soft">nothing</i>'


def _interval_bar(value: float | None, interval: object) -> str:
    """A line from 0 to 1 with the interval and the value on it."""
    bounds = list(interval) if isinstance(interval, Sequence) else []
    ends = [end for bound in bounds if (end := finite(bound)) is not None]
    if value is None or len(ends) != 2:
        return DASH
    low, high = (min(1.0, max(0.0, end)) for end in ends)
    title = f"{_percent(ends[0])} to {_percent(ends[1])}"
    return (
        f'<span class="interval" title="{title}" style="--low:{low:.1%};--high:{high:.1%};'
        f'--value:{value:.1%}"></span>'
    )


def _percent(value: object) -> str:
    share = finite(value)
    return DASH if share is None else f"{share:.1%}"


def _number(value: object, digits: int) -> str:
    number = finite(value)
    return DASH if number is None else f"{number:.{digits}f}"
