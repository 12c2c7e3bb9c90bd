"""The pictures of a trace run: how it learned, and how far beyond its sizes it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parley.platform.report.plots import draw_series, finish_axes
from parley.platform.trace.settings import TraceConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, object]


def plot_trace_curve(rows: Sequence[Row], config: TraceConfig, path: Path) -> None:
    """Draw the losses of a trace run above what it writes into a PNG file.

    Args:
        rows: of `metrics.jsonl`, of either algorithm.
        config: the run's settings, for the title.
        path: the file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), dpi=120, layout="constrained")
    losses, shares = figure.subplots(2, 1, sharex=True)
    _draw_lines(
        losses,
        rows,
        ("train_loss", "training", "tab:blue", "-"),
        ("nats_over_optimal", "held out, above the optimum", "black", "o-"),
    )
    _draw_lines(
        shares,
        rows,
        ("sampled_exact_match", "exact as drawn, training", "tab:blue", "-"),
        ("exact_match", "exact, held out, all trained sizes", "tab:green", "o-"),
        ("least_exact_match", "exact, held out, worst size", "tab:orange", "o--"),
        ("illegal_rate", "held out, with an illegal step", "tab:red", "o-"),
    )
    losses.set_ylabel("nats per label")
    losses.set_yscale("log")
    losses.set_title(f"{config.experiment}: {config.policy}, {config.language.name}")
    shares.set_ylabel("share of traces")
    shares.set_ylim(-0.02, 1.02)
    shares.set_xlabel("gradient steps" if config.algorithm == "next_token" else "iterations")
    figure.savefig(path)


def plot_length_curve(
    metrics: Mapping[str, Any], trained_sizes: Sequence[int], title: str, path: Path
) -> None:
    """Draw a figure by length with its intervals, the trained sizes shaded, into a PNG file.

    The figure is exact match, or nats above the optimal predictor of a source, which has none.

    Args:
        metrics: of `TraceFigures.metrics`, of at least one size.
        trained_sizes: ascending.
        title: of the picture.
        path: the file.
    """
    from matplotlib.figure import Figure

    is_source = "exact_match_by_length" not in metrics
    name = "nats_over_optimal_by_length" if is_source else "exact_match_by_length"
    points = {int(size): float(value) for size, value in metrics[name].items()}
    ends = {int(size): interval for size, interval in metrics[f"{name}_ci95"].items()}
    sizes = sorted(points)
    values = [points[size] for size in sizes]
    below = [max(0.0, points[size] - ends[size][0]) for size in sizes]
    above = [max(0.0, ends[size][1] - points[size]) for size in sizes]
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.axvspan(trained_sizes[0] - 0.5, trained_sizes[-1] + 0.5, alpha=0.12, label="trained sizes")
    axes.errorbar(sizes, values, [below, above], fmt="o-", capsize=3, label="with 95 % intervals")
    if sizes[-1] > 10 * sizes[0]:
        axes.set_xscale("log")
    axes.set_xlabel("size of the input")
    axes.set_ylabel("nats above the optimal predictor" if is_source else "exact match")
    if not is_source:
        axes.set_ylim(-0.02, 1.02)
    axes.set_title(title)
    finish_axes(axes)
    figure.savefig(path)


def _draw_lines(axes: Axes, rows: Sequence[Row], *lines: tuple[str, str, str, str]) -> None:
    """Lines of (key, label, colour, style) over the iterations, with a legend."""
    for line in lines:
        draw_series(axes, rows, *line, over="iteration")
    finish_axes(axes)
