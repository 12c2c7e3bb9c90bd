"""What a finished trace run keeps next to its result: the length curve, and a trace to look at."""

from __future__ import annotations

from pathlib import Path

from parley.platform.records import Metrics
from parley.platform.runs.files import atomic_write_text, to_json
from parley.platform.trace.evaluation.measure import evaluate_tracer, load_tracer
from parley.platform.trace.evaluation.plots import plot_length_curve
from parley.platform.trace.viewing.replay import view_trace
from parley.platform.trace.viewing.view import VIEW_FILE

LENGTH_CURVE_FILE = "length_curve.png"


def keep_outcome(checkpoint: Path, folder: Path) -> Metrics:
    """Measure a run's best checkpoint as its settings say; draw and keep what a report shows.

    Args:
        checkpoint: folder of the checkpoint.
        folder: of the run.

    Returns:
        The metrics.

    Raises:
        CheckpointError, TraceInputError: as `trace.evaluate_path`.
    """
    tracer = load_tracer(checkpoint)
    task, seed = tracer.task, tracer.evaluation.seed
    metrics = evaluate_tracer(tracer).metrics()
    if len(tracer.sizes) > 1:
        title = f"{task.language.name}: inputs of each size, held out"
        plot_length_curve(metrics, task.trained_sizes, title, folder / LENGTH_CURVE_FILE)
    size = max(task.trained_sizes)
    given = task.draw_heldout(size, 1, seed)[0]
    view = view_trace(tracer.model, task.language, size, given, seed)
    atomic_write_text(folder / VIEW_FILE, to_json(view.to_json()) + "\n")
    return metrics
