"""Counting sides, and saying the commoner one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from parley.envs.coin.rules import throw
from parley.platform.coin.settings import CoinConfig
from parley.platform.runs.checkpoints import CheckpointStore, resolve_checkpoint
from parley.platform.runs.kinds import kind_facts
from parley.platform.runs.result import conclude_run
from parley.platform.runs.run_folder import RunFolder


def run_guess(config: CoinConfig, run_folder: RunFolder, resume: bool) -> dict[str, Any]:
    """Learn which side is the commoner."""
    rng, sides = np.random.default_rng(config.seed), np.zeros(0, np.int64)
    for iteration in range(1, config.throw.iterations + 1):
        new = throw(config.throw.throws, config.throw.heads, rng)
        sides = np.append(sides, new)
        guess = int(sides.mean() >= 0.5)
        reward = float((new == guess).mean())
        run_folder.append_metrics({"iteration": iteration, "reward": reward})

    def save(folder: Path) -> None:
        (folder / "guesser").mkdir()
        (folder / "guesser" / "guess.txt").write_text(str(guess))

    facts = {**kind_facts(config), "heads": config.throw.heads}
    checkpoint = CheckpointStore(run_folder.checkpoints).save(iteration, save, facts, {}, reward)
    return conclude_run(run_folder, "done", 0.1, {"hit_rate": reward}, checkpoint)


def evaluate_path(
    path: Path, episodes: int | None = None, seed: int | None = None
) -> dict[str, Any]:
    """How often the guess is right."""
    checkpoint = resolve_checkpoint(path)
    heads = checkpoint.read_policy_facts()["heads"]
    sides = throw(episodes or 100, heads, np.random.default_rng(seed or 1))
    guess = int((checkpoint.policy_folders["guesser"] / "guess.txt").read_text())
    return {"hit_rate": float((sides == guess).mean())}


def watch_path(path: Path, out: Path | None, seed: int) -> Path | None:
    """There is nothing to see."""
    return None
