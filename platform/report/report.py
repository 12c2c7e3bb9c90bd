"""`report.html`: one run in one file, from what lies in its folder; no model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

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
from parley.platform.report.sections import Rows, Sections
from parley.platform.report.sweeps import make_trial_charts, read_trials, render_sweep
from parley.platform.runs.files import atomic_write_text
from parley.platform.runs.kinds import find_run
from parley.platform.runs.run_folder import RunFolder, RunFolderError
from parley.platform.settings.experiments import find_experiment, load_function
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.terminal.activities import duration_text

MakeSections = Callable[[RunFolder, Rows, Mapping[str, Any]], Sections]
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
    run_folder = RunFolder.open(find_run(path) or path)
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
    config, rows = run_folder.config, run_folder.read_metrics()
    result = run_folder.read_result() or {}
    row = find_experiment(config.workflow, config.algorithm)
    sections = cast("MakeSections", load_function(row.report))(run_folder, rows, result)
    trials, settings = read_trials(run_folder.path), config.model_dump(exclude_none=True)
    title = f"{config.experiment} \N{MIDDLE DOT} {run_folder.path.resolve().name}"
    parts = [_header(title, config, rows, result, sections.facts), sections.obstacle]
    if sections.figures and "iteration" not in sections.figures:
        # A stopped run's are its last row: see the curves.
        tiles = render_figures(sections.figures, sections.all_figures or sections.figures)
        parts.append(render_section("Final figures", tiles))
    parts += sections.after_figures
    if trials:
        parts.append(render_section("Trials", render_sweep(trials, result.get("metrics"))))
    parts += sections.before_curves
    charts = make_trial_charts(rows, trials) if trials else make_charts(rows, settings)
    if charts:
        parts.append(render_section("Learning curves", render_charts(charts)))
    parts += sections.after_curves
    parts.append(render_section("Settings", render_settings(settings)))
    if isinstance(versions := result.get("versions"), Mapping):
        table = f'<div class="sections"><div class="card">{render_table(versions)}</div></div>'
        parts.append(render_section("Versions", table))
    return render_page(title, parts)


def _header(
    title: str,
    config: ExperimentConfig,
    rows: list[dict[str, object]],
    result: Mapping[str, Any],
    own: Mapping[str, str],
) -> str:
    """The status and the first facts; a run without a result may still go on."""
    facts = {"algorithm": config.algorithm, **own, "seed": f"{config.seed}"}
    if rows:
        counted = "measures" if "trial" in rows[-1] else name_iterations(config.model_dump())
        facts[counted] = f"{rows[-1]['iteration']:,}"
    seconds = finite(result.get("seconds"))
    if seconds is not None:
        facts["took"] = duration_text(seconds)
    status = str(result.get("status", UNFINISHED))
    return render_header(title, status, facts, str(result.get("error", "")))
