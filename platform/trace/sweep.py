"""What traces by PPO bring to a sweep: their trial, and what becomes of the best one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

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
from parley.platform.terminal.progress import Progress
from parley.platform.trace.algorithm import build_trace_config, make_writing_task
from parley.platform.trace.evaluation.measure import TraceTask
from parley.platform.trace.outcome import keep_outcome
from parley.platform.trace.ppo_run import TracePPORun, check_reinforced
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.warm_start import load_trace_start


@dataclass(frozen=True)
class SharedStart:
    """What all trials begin with."""

    weights: Mapping[str, Tensor] | None
    """Fresh ones where absent."""


def prepare(config: TraceConfig, folder: Path, progress: Progress, stop: StopSignal) -> SharedStart:
    """The weights of `init_from`.

    Raises:
        ConfigError, TraceInputError: the language has no right answers, or no inputs.
        CheckpointError: `init_from` does not fit.
    """
    check_reinforced(config, TraceTask.from_config(config))
    return SharedStart(load_trace_start(config).state_dict() if config.init_from else None)


def bundles(config: TraceConfig) -> list[Bundle]:
    """What the processes of a trial take."""
    rllib = build_trace_config(config, make_writing_task(config))
    return list_bundles(rllib, config.sweep.cpus_per_trial)


def run_trial(
    config: TraceConfig,
    shared: SharedStart,
    folder: Path,
    report: Report,
    restore: Path | None,
    ending: TrialEnding,
) -> Mapping[str, object]:
    """One training; see `engine.sweeps.worker.Trial`."""
    task = TraceTask.from_config(config)
    check_reinforced(config, task)

    def make_run(interrupting: Interrupting) -> TracePPORun:
        return TracePPORun(config, RunFolder(folder, config), task, interrupting, shared.weights)

    return run_policy_trial(make_run, report, restore, ending)


def conclude(
    config: TraceConfig,
    run_folder: RunFolder,
    shared: SharedStart,
    best: SavedMeasure,
    progress: Progress,
) -> tuple[str, Metrics]:
    """Export the best checkpoint, and measure it on held-out inputs as a training's."""
    checkpoint = export_best(run_folder, best)
    figures = {
        **keep_outcome(checkpoint.path, run_folder.path),
        **checkpoint.read_trainer_state()["start"],
        "best_iteration": best.row["iteration"],
        "train_seconds": best.row["seconds"],
    }
    return str(checkpoint.path.relative_to(run_folder.path)), figures


PPO_PARTS = SweepParts(prepare=prepare, trial=run_trial, conclude=conclude, bundles=bundles)
