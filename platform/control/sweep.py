"""What CartPole by PPO brings to a sweep: its trial, and what becomes of the best one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parley.platform.control.algorithm import build_config
from parley.platform.control.evaluation import evaluate_path
from parley.platform.control.ppo_run import PPORun, check_step_limit
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.control.warm_start import WarmStart, load_warm_start
from parley.platform.engine.rllib.trial import list_bundles, run_policy_trial
from parley.platform.engine.sweeps.export import export_best
from parley.platform.engine.sweeps.resources import Bundle
from parley.platform.engine.sweeps.run import SweepParts
from parley.platform.engine.sweeps.trial_ending import TrialEnding
from parley.platform.engine.sweeps.trial_folder import SavedMeasure
from parley.platform.engine.sweeps.worker import Report
from parley.platform.records import Metrics
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import Interrupting, StopSignal
from parley.platform.settings.errors import ConfigError
from parley.platform.terminal.progress import Progress


def prepare(
    config: CartPolePPOConfig, folder: Path, progress: Progress, stop: StopSignal
) -> WarmStart | None:
    """The weights that all trials begin with, where they do.

    Raises:
        ConfigError: trials would have no iteration, or no measure.
        CheckpointError: `init_from` does not fit.
    """
    check_step_limit(config)
    if not config.evaluation.interval_env_steps:
        raise ConfigError(
            "evaluation.interval_env_steps = 0: trials are compared by evaluations during "
            "training; write for example 20000"
        )
    if not config.init_from:
        return None
    other_models = [key for key in config.sweep.ranges if key.startswith(("model.", "env."))]
    if other_models:
        raise ConfigError(
            f"sweep.space: {', '.join(other_models)} would make other models than the one at "
            f"init_from {config.init_from}; leave one of the two out"
        )
    return load_warm_start(config)


def bundles(config: CartPolePPOConfig) -> list[Bundle]:
    """What the processes of a trial take."""
    task, settings = make_cartpole_task(config.env), policy_settings(config.env, config.model)
    return list_bundles(build_config(config, task, settings), config.sweep.cpus_per_trial)


def run_trial(
    config: CartPolePPOConfig,
    shared: WarmStart | None,
    folder: Path,
    report: Report,
    restore: Path | None,
    ending: TrialEnding,
) -> Mapping[str, object]:
    """One training; see `engine.sweeps.worker.Trial`."""
    check_step_limit(config)

    def make_run(interrupting: Interrupting) -> PPORun:
        return PPORun(config, RunFolder(folder, config), interrupting, shared)

    return run_policy_trial(make_run, report, restore, ending)


def conclude(
    config: CartPolePPOConfig,
    run_folder: RunFolder,
    shared: WarmStart | None,
    best: SavedMeasure,
    progress: Progress,
) -> tuple[str, Metrics]:
    """Export the best checkpoint, and measure it on fresh episodes as a training's."""
    checkpoint, evaluation = export_best(run_folder, best), config.evaluation
    figures = {
        **evaluate_path(checkpoint.path, evaluation.episodes, evaluation.seed),
        "train_env_steps": best.row["env_steps"],
        "train_seconds": best.row["seconds"],
    }
    return str(checkpoint.path.relative_to(run_folder.path)), figures


PPO_PARTS = SweepParts(prepare=prepare, trial=run_trial, conclude=conclude, bundles=bundles)
