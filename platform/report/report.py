"""`report.html`: one run in one file, from what lies in its folder; no model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parley.platform.cooperate.evaluation.report import (
    headline_figures,
    read_evaluation,
    render_answers,
    render_evaluation,
    render_obstacle,
)
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.viewing.report import (
    render_dialogues,
    render_phrases,
    summarise_phrases,
)
from parley.platform.errors import display_path
from parley.platform.report.curves import finite, make_charts, name_iterations
from parley.platform.report.page import (
    UNFINISHED,
    render_charts,
    render_figures,
    render_header,
    render_page,
    render_section,
    render_settings,
    render_table,
)
from parley.platform.report.sweeps import make_trial_charts, read_trials, render_sweep
from parley.platform.runs.files import atomic_write_text
from parley.platform.runs.run_folder import CONFIG_FILE, RunFolder, RunFolderError
from parley.platform.runs.transcripts import TRANSCRIPTS_FILE, read_transcripts
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.terminal.activities import duration_text
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.viewing.report import overall_figures, render_trace_sections

REPORT_FILE = "report.html"


def write_report(path: Path, out: Path | None = None) -> Path:
    """Write the report of a run, finished or not.

    Args:
        path: run, or checkpoint inside one.
        out: the file; None: `report.html` in the run folder.

    Returns:
        The file.

    Raises:
        InputError: there is no run, or a line of its files is broken.
    """
    run_folder = RunFolder.open(_find_run(path))
    target = out or run_folder.path / REPORT_FILE
    try:
        atomic_write_text(target, render_report(run_folder))
    except OSError as error:
        raise RunFolderError(
            f"cannot write {display_path(target)}: {error.strerror or error}; name a file by --out"
        ) from error
    return target


def render_report(run_folder: RunFolder) -> str:
    """The page as HTML."""
    rows = run_folder.read_metrics()
    result = run_folder.read_result() or {}
    settings = run_folder.config.model_dump(exclude_none=True)
    transcripts = read_transcripts(run_folder.path / TRANSCRIPTS_FILE)
    title = f"{run_folder.config.experiment} \N{MIDDLE DOT} {run_folder.path.resolve().name}"
    parts = [_header(title, run_folder.config, rows, result)]
    evaluation, trials = read_evaluation(run_folder.path), read_trials(run_folder.path)
    metrics = evaluation["metrics"] if evaluation else result.get("metrics")
    metrics = metrics if isinstance(metrics, Mapping) else {}
    parts.append(render_obstacle(metrics))
    if metrics and "iteration" not in metrics:  # a stopped run's are its last row: see the curves
        figures = render_figures(overall_figures(headline_figures(metrics)), metrics)
        parts.append(render_section("Final figures", figures))
    if isinstance(run_folder.config, TraceConfig):
        parts += render_trace_sections(run_folder.config, metrics, run_folder.path)
    if trials:
        parts.append(render_section("Trials", render_sweep(trials, result.get("metrics"))))
    if evaluation:
        parts.append(render_section("Cooperation", render_evaluation(evaluation)))
    if evaluation and evaluation["samples"]:
        parts.append(render_section("Answers", render_answers(evaluation["samples"])))
    if transcripts:
        parts.append(render_section("First and last dialogues", render_dialogues(transcripts)))
    charts = make_trial_charts(rows, trials) if trials else make_charts(rows, settings)
    if charts:
        parts.append(render_section("Learning curves", render_charts(charts)))
    if any("attractors" in row for row in rows):
        parts.append(render_section("Attractors", render_phrases(summarise_phrases(rows))))
    parts.append(render_section("Settings", render_settings(settings)))
    if isinstance(versions := result.get("versions"), Mapping):
        table = f'<div class="sections"><div class="card">{render_table(versions)}</div></div>'
        parts.append(render_section("Versions", table))
    return render_page(title, parts)


def _find_run(path: Path) -> Path:
    """The run folder at `path` or around it."""
    folders = (path, *list(path.resolve().parents)[:2])
    return next((folder for folder in folders if (folder / CONFIG_FILE).is_file()), path)


def _header(
    title: str,
    config: ExperimentConfig,
    rows: list[dict[str, object]],
    result: Mapping[str, Any],
) -> str:
    """The status and the first facts; a run without a result may still go on."""
    facts = {"algorithm": config.algorithm, **_who_learns(config, result), "seed": f"{config.seed}"}
    if rows:
        counted = "measures" if "trial" in rows[-1] else name_iterations(config.model_dump())
        facts[counted] = f"{rows[-1]['iteration']:,}"
    seconds = finite(result.get("seconds"))
    if seconds is not None:
        facts["took"] = duration_text(seconds)
    status = str(result.get("status", UNFINISHED))
    return render_header(title, status, facts, str(result.get("error", "")))


def _who_learns(config: ExperimentConfig, result: Mapping[str, Any]) -> dict[str, str]:
    """The policy of a run and its language, or the models that it names."""
    facts = {}
    if policy := getattr(config, "policy", ""):
        facts["policy"] = str(policy)
    if isinstance(config, TraceConfig):
        facts["language"] = config.language.name
    if isinstance(config, DialogueDPOConfig):
        facts["model"] = _short_model(config.model)
    if isinstance(config, DialogueDistortConfig):
        found = result.get("models") or {}
        for name, seat in config.seats.items():
            model = _short_model(str(found.get(name, seat.model)))
            facts[name] = f"{model}, {'learns' if seat.trained else 'frozen'}"
    return facts


def _short_model(name: str) -> str:
    """A model's name; of a folder the last part."""
    return Path(name).name if Path(name).is_absolute() else name
