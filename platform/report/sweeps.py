"""What a report shows of a sweep: heat maps over two settings, the best trials' curves, all trials.

Drawn from `trials.json` and `metrics.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from parley.platform.errors import InputError, display_path
from parley.platform.report.charts import Chart, Line
from parley.platform.report.choice import CHOICE
from parley.platform.report.curves import finite
from parley.platform.report.heat_maps import Spot, render_heat_map, value_text
from parley.platform.runs.run_folder import TRIALS_FILE
from parley.platform.terminal.activities import duration_text

PREFERRED_AXES = ("dpo.beta", "dpo.learning_rate")
"""Rows and columns of the heat maps, where both were searched."""
MAPPED = {
    "score": "Score",
    "cooperative_rate": "Cooperative rate",
    "preference_accuracy": "Preference accuracy",
}
"""Figures with a heat map each, and columns of the table."""
FURTHER = {
    "chosen_perplexity_ratio": "perplexity ratio of the chosen",
    "kl": "KL to the reference",
    "eval_loss": "DPO loss",
}
"""Further columns of the table, where trials are measured on preference pairs."""
X_AXES = {"step": "gradient steps", "env_steps": "environment steps", "evaluation": "measures"}
"""What the courses of trials are drawn over: the first that all rows have."""
NUM_LINES = 5
"""Trials in a chart, the best ones; the style sheet has so many colours."""
DASH = "\N{EM DASH}"


@dataclass(frozen=True)
class Trial:
    """One trial as `trials.json` tells it."""

    name: str
    config: Mapping[str, Any]
    status: str
    metrics: Mapping[str, Any]
    seconds: float | None
    error: str

    def figure(self, name: str) -> float | None:
        """A finite figure of its best measure."""
        return finite(self.metrics.get(name))


def read_trials(folder: Path) -> list[Trial]:
    """The trials of a sweep, the best first; none where the run is no sweep.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / TRIALS_FILE
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        trials = [
            Trial(
                name=str(entry["trial"]),
                config=dict(entry["config"]),
                status=str(entry["status"]),
                metrics=dict(entry.get("metrics") or {}),
                seconds=finite(entry.get("seconds")),
                error=str(entry.get("error") or ""),
            )
            for entry in entries
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{display_path(path)} is damaged ({type(error).__name__}: {error}); delete it to get "
            f"a report without the trials"
        ) from error
    return sorted(trials, key=lambda trial: -_or_lowest(trial.figure("score")))


def render_sweep(trials: Sequence[Trial], metrics: object = None) -> str:
    """How sure the choice is, heat maps where two settings were searched, and all trials.

    Args:
        trials: the best first.
        metrics: the sweep's final figures, where there are any.
    """
    maps = "".join(render_map(trials, name, title) for name, title in MAPPED.items())
    choice = metrics.get(CHOICE) if isinstance(metrics, Mapping) else None
    told = f"<p>{escape(str(choice))}</p>" if choice else ""
    return f'{told}<div class="maps">{maps}</div>{render_trials(trials)}'


def render_map(trials: Sequence[Trial], name: str, title: str) -> str:
    """A figure over two searched settings; empty where there are not two, or no figure."""
    axes = _axes(trials)
    if axes is None:
        return ""
    down, across = axes
    spots = [
        Spot(trial.config.get(down), trial.config.get(across), value, _line_label(trial))
        for trial in trials
        if (value := trial.figure(name)) is not None
    ]
    return render_heat_map(title, _short(down), _short(across), spots) if spots else ""


def render_trials(trials: Sequence[Trial]) -> str:
    """The table of all trials, the best first."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.config))
    held_out = any(trial.figure("preference_accuracy") is not None for trial in trials)
    figures = [
        (name, title)
        for name, title in (MAPPED | (FURTHER if held_out else {})).items()
        if any(trial.figure(name) is not None for trial in trials)
    ]
    head = "".join(
        f'<th class="number">{escape(title)}</th>'
        for title in (*map(_short, keys), *(title.lower() for _, title in figures), "time")
    )
    body = "".join(
        f"<tr><td>{escape(trial.name)}</td>"
        + "".join(
            f'<td class="number">{escape(value_text(trial.config.get(k)))}</td>' for k in keys
        )
        + "".join(f'<td class="number">{_figure(trial.figure(n))}</td>' for n, _ in figures)
        + f'<td class="number">{DASH if not trial.seconds else duration_text(trial.seconds)}</td>'
        f"<td>{_status(trial)}</td></tr>"
        for trial in trials
    )
    return (
        f'<div class="card scroll"><table><tr><th>trial</th>{head}<th>status</th></tr>{body}'
        "</table></div>"
        '<p class="soft">Figures of each trial\'s best measure'
        f"{', on held-out conversations' if held_out else ''}; the score chooses.</p>"
    )


def make_trial_charts(rows: Sequence[Mapping[str, object]], trials: Sequence[Trial]) -> list[Chart]:
    """The course of the mapped figures in the best trials.

    Args:
        rows: of `metrics.jsonl`, with `trial` and one of `X_AXES`.
        trials: the best first.
    """
    shown = trials[:NUM_LINES]
    x_key = next((key for key in X_AXES if all(key in row for row in rows)), "evaluation")
    charts = []
    for name, title in {**MAPPED, "eval_loss": "DPO loss, held out"}.items():
        lines = [
            Line(_line_label(trial), points)
            for trial in shown
            if (points := _points(rows, trial.name, x_key, name))
        ]
        if lines:
            charts.append(Chart(title, "best trials", X_AXES[x_key], lines))
    return charts


def _points(
    rows: Sequence[Mapping[str, object]], trial: str, x_key: str, name: str
) -> list[tuple[float, float]]:
    own = [row for row in rows if str(row.get("trial")) == trial]
    pairs = ((finite(row.get(x_key)), finite(row.get(name))) for row in own)
    return sorted({x: y for x, y in pairs if x is not None and y is not None}.items())


def _line_label(trial: Trial) -> str:
    values = ", ".join(f"{_short(key)} {value_text(value)}" for key, value in trial.config.items())
    return f"{trial.name}: {values}" if values else trial.name


def _axes(trials: Sequence[Trial]) -> tuple[str, str] | None:
    """The two settings of a map: those preferred, else the first two that vary."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.config))
    varying = [key for key in keys if len({str(t.config.get(key)) for t in trials}) > 1]
    if all(key in keys for key in PREFERRED_AXES):
        return PREFERRED_AXES
    found = (varying + [key for key in keys if key not in varying])[:2]
    return (found[0], found[1]) if len(found) == 2 else None


def _status(trial: Trial) -> str:
    kind = trial.status.split()[0] if trial.status else ""
    error = trial.error.splitlines()[0] if trial.error else ""
    title = f' title="{escape(error, quote=True)}"' if error else ""
    return f'<span class="status {escape(kind, quote=True)}"{title}>{escape(trial.status)}</span>'


def _short(key: str) -> str:
    return key.rpartition(".")[2].replace("_", " ")


def _figure(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def _or_lowest(value: float | None) -> float:
    return float("-inf") if value is None else value
