"""The picture of a run: returns over environment steps, with what counts as solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from parley.platform.config.schema import CartPolePPOConfig

SOLVED_RETURN = 475.0
"""What gymnasium counts as solved for CartPole-v1 (its `reward_threshold`)."""


def plot_learning_curve(
    rows: Sequence[Mapping[str, object]], config: CartPolePPOConfig, path: Path
) -> None:
    """Draw training and greedy returns of a PPO run into a PNG file.

    Args:
        rows: of `metrics.jsonl`.
        config: the run's settings, for the title and the scale.
        path: the file.
    """
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, rows, "mean_return", "training, mean of 100 episodes", "tab:blue", "-")
    _draw(axes, rows, "eval_return", "greedy, held-out episodes", "tab:orange", "o-")
    axes.axhline(SOLVED_RETURN, color="grey", linestyle="--", linewidth=1, label="solved (475)")
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return")
    axes.set_ylim(0, config.env.max_steps * 1.05)
    axes.set_xlim(left=0)
    axes.set_title(f"{config.experiment}: {config.policy}, {config.env.num_bins} bins")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path)


def _draw(
    axes: object,
    rows: Sequence[Mapping[str, object]],
    key: str,
    label: str,
    color: str,
    style: str,
) -> None:
    points = [(row["env_steps"], row[key]) for row in rows if row.get(key) is not None]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, style, color=color, label=label, markersize=4)  # type: ignore[attr-defined]
