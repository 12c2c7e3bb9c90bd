"""parley: the PPO job itself, with the experiment's settings and the benchmark's rules."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.contestants.score import ScoreSheet
from parley.platform.cluster.connection import connect_ray
from parley.platform.control.ppo_run import PPORun
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.loading import load_experiment
from parley.platform.settings.packaged import list_experiments
from parley.platform.terminal.progress import Progress
from parley.platform.terminal.quiet import quiet_libraries

EXPERIMENT = "cartpole/ppo"


def load_settings(policy: str, seed: int, sheet: ScoreSheet) -> CartPolePPOConfig:
    """The settings of `cartpole/ppo_<policy>` where there is such a file, else `cartpole/ppo`."""
    own = f"{EXPERIMENT}_{policy}"
    rules = sheet.rules
    config = load_experiment(
        own if own in list_experiments() else EXPERIMENT,
        [
            f"policy={policy}",
            f"seed={seed}",
            f"stop.max_env_steps={rules.env_step_limit}",
            f"stop.target_return={rules.target_return}",
            f"evaluation.interval_env_steps={rules.eval_interval}",
            f"evaluation.selection_episodes={rules.eval_episodes}",
            f"evaluation.seed={rules.eval_seed}",
        ],
    )
    assert isinstance(config, CartPolePPOConfig)
    return config


def train_parley(policy: str, seed: int, sheet: ScoreSheet) -> None:
    """Train as `parley train` does; time besides `Algorithm.train` counts as aside."""
    quiet_libraries()
    config = load_settings(policy, seed, sheet)
    num_processes = config.rollouts.num_env_runners + config.learner.num_learners
    with (
        tempfile.TemporaryDirectory() as folder,
        RunFolder.create(config, Path(folder) / "run") as run_folder,
        connect_ray(config.ray, num_processes, Progress(())),
    ):
        run = PPORun(config, run_folder)
        sheet.start()
        while not run.finished:
            started, steps_before = time.perf_counter(), run.env_steps
            row = run.iterate()
            seconds = time.perf_counter() - started
            train_seconds = (run.env_steps - steps_before) / row["steps_per_s"]
            sheet.add_training(run.env_steps, train_seconds)
            sheet.aside_seconds += seconds - train_seconds
            if "eval_return" in row:
                sheet.add_evaluation(row["eval_return"])
        run.close()
