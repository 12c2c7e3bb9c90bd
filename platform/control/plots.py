"""The picture of a run: returns and losses as training goes on, with what counts as solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from parley.platform.control.curves import SOLVED_RETURN
from parley.platform.control.settings import CartPoleImitateConfig, CartPolePPOConfig
from parley.platform.report.plots import draw_series, finish_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_learning_curve(
    rows: Sequence[Mapping[str, object]], config: CartPolePPOConfig, path: Path
) -> None:
    """Draw training and greedy returns of a PPO run into a PNG file.

    Args:
        rows: of `metrics.jsonl`.
        config: the run's settings, for the title and the scale.
        path: the file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    draw_series(axes, rows, "mean_return", "training, mean of recent episodes", "tab:blue", "-")
    draw_series(axes, rows, "eval_return", "greedy, held-out episodes", "tab:orange", "o-")
    draw_levels(axes, config.env.max_steps, config.stop.target_return)
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return")
    axes.set_ylim(0, config.env.max_steps * 1.05)
    axes.set_xlim(left=0)
    axes.set_title(f"{config.experiment}: {config.policy}, {config.env.num_bins} bins")
    finish_axes(axes)
    figure.savefig(path)


def plot_imitation_curve(
    rows: Sequence[Mapping[str, object]], config: CartPoleImitateConfig, path: Path
) -> None:
    """Draw the losses of an imitation run above its greedy returns into a PNG file.

    Args:
        rows: of `metrics.jsonl`.
        config: the run's settings, for the title and the scale.
        path: the file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), dpi=120, layout="constrained")
    losses, returns = figure.subplots(2, 1, sharex=True)
    lines = (
        ("train_loss", "training, all tokens", "tab:blue", "-"),
        ("heldout_loss", "held out, all tokens", "black", "o-"),
        ("heldout_loss_state", "held out, state", "tab:green", "o--"),
        ("heldout_loss_action", "held out, action", "tab:orange", "o--"),
        ("heldout_loss_done", "held out, DONE", "tab:red", "o--"),
    )
    for key, label, color, style in lines:
        draw_series(losses, rows, key, label, color, style, "iteration")
    losses.set_ylabel("loss (nats per token)")
    losses.set_yscale("log")
    losses.set_title(f"{config.experiment}: {config.policy}, {config.env.num_bins} bins")
    label = f"greedy, window of {config.env.window} steps"
    draw_series(returns, rows, "eval_return", label, "tab:orange", "o-", "iteration")
    draw_levels(returns, config.env.max_steps)
    returns.set_ylabel("return")
    returns.set_ylim(0, config.env.max_steps * 1.05)
    returns.set_xlabel("gradient steps")
    for axes in (losses, returns):
        finish_axes(axes)
    figure.savefig(path)


def draw_levels(axes: Axes, max_steps: int, target_return: float | None = None) -> None:
    """Add the return that counts as solved, where it can be reached, and that ends the run."""
    levels = [(SOLVED_RETURN, "solved", "--")] if max_steps >= SOLVED_RETURN else []
    if target_return is not None and target_return != SOLVED_RETURN:
        levels.append((target_return, "stops at", ":"))
    for level, name, style in levels:
        label = f"{name} ({level:g})"
        axes.axhline(level, color="grey", linestyle=style, linewidth=1, label=label)
