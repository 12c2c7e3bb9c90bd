"""A trial that only counts, for the tests of sweeps: what is under test is who runs it when.

Run as a program it sweeps into the folder that is named, so that a test can kill it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray.cloudpickle

from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.engine.sweeps.run import SweepParts, run_sweep
from parley.platform.engine.sweeps.trial_ending import TrialEnding
from parley.platform.engine.sweeps.trial_folder import SavedMeasure
from parley.platform.runs.run_folder import RunFolder
from parley.platform.runs.stopping import StopSignal
from parley.platform.settings.loading import load_experiment, replace_overrides
from parley.platform.terminal.progress import Progress

LOG_FILE = "steps.log"
NUM_STEPS = 5
BEST_BETA = 0.12


def make_config(*overrides: str) -> DialogueDPOConfig:
    """Three trials by beta: 0.05, 0.1, 0.3."""
    config = load_experiment("dialogue/dpo", ["sweep.space.dpo.learning_rate.grid=[1e-4]"])
    config = replace_overrides(config, overrides)
    assert isinstance(config, DialogueDPOConfig)
    return config


def count_steps(
    config: DialogueDPOConfig,
    shared: Any,
    folder: Path,
    report: Callable[[Mapping[str, object], Any], bool],
    restore: Path | None,
    ending: TrialEnding,
) -> dict[str, object]:
    """Count to `NUM_STEPS`, the nearer to `BEST_BETA` the better; a fault where `shared` says so.

    `shared` maps `sleep_s` to a step's time, `interval` to the steps between measures, `waits_at`
    to the step at which to wait for a stop, and `faults` to beta -> (step, what happens then).
    """
    beta, step, total = config.dpo.beta, 0, 0.0
    if restore is not None:
        state = json.loads((restore / "state.json").read_text())
        step, total = state["step"], state["total"]
    while step < NUM_STEPS:
        time.sleep(shared["sleep_s"])
        step += 1
        total += beta
        with (folder / LOG_FILE).open("a") as log:
            log.write(json.dumps([step, os.getpid(), id(shared)]) + "\n")
        _meet_fault(shared["faults"].get(str(beta)), step, folder)
        score = 1.0 - abs(beta - BEST_BETA) + step / 1_000
        if shared["faults"].get(str(beta)) == (step, "nan"):
            score = math.nan
        state = {"step": step, "total": total}

        def save(target: Path, state: dict[str, Any] = state) -> None:
            (target / "state.json").write_text(json.dumps(state))

        if step % shared["interval"] and step < NUM_STEPS:
            if step == shared["waits_at"]:
                while not ending.is_stopping():
                    time.sleep(0.01)
                ending.save(step, save)
                return {}
            continue
        figures = {"step": step, "iteration": step, "score": score, "cooperative_rate": 0.5}
        if not report(figures, save):
            return {}
    return {"step": step}


def _meet_fault(fault: tuple[int, str] | None, step: int, folder: Path) -> None:
    """Raise or die at the step of the fault; `once` faults leave a mark and do not come back."""
    if fault is None or fault[0] != step:
        return
    kind = fault[1]
    mark = folder / "mark"
    if kind.endswith("once"):
        if mark.exists():
            return
        mark.touch()
    if kind.startswith("raise"):
        raise RuntimeError(f"broken at step {step}")
    if kind.startswith("diverge"):
        raise FloatingPointError(f"the loss of step {step} is not a number")
    if kind.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)


def make_parts(shared: Mapping[str, object] | None = None) -> SweepParts:
    """The stand-in's parts; `shared` changes what its trials are given."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    given = {"sleep_s": 0.0, "interval": 1, "waits_at": 0, "faults": {}, **(shared or {})}

    def prepare(
        config: DialogueDPOConfig, folder: Path, progress: Progress, stop: StopSignal
    ) -> dict[str, object]:
        with (folder / "prepared.log").open("a") as log:
            log.write("prepared\n")
        return given

    def conclude(
        config: DialogueDPOConfig,
        run_folder: RunFolder,
        shared: Any,
        best: SavedMeasure,
        progress: Progress,
    ) -> tuple[str, dict[str, Any]]:
        state = json.loads((best.state / "state.json").read_text())
        target = run_folder.checkpoints / "best"
        target.mkdir()
        (target / "state.json").write_text(json.dumps(state))
        return "checkpoints/best", {"beta": config.dpo.beta, "exported_step": state["step"]}

    return SweepParts(prepare=prepare, trial=count_steps, conclude=conclude)


def read_steps(run: Path, number: int) -> list[int]:
    """The steps that a trial has taken, over all attempts, in order."""
    path = run / "trials" / f"{number:05d}" / LOG_FILE
    if not path.is_file():
        return []
    return [json.loads(line)[0] for line in path.read_text().splitlines()]


def read_pids(run: Path, number: int) -> set[int]:
    """The processes in which a trial ran."""
    path = run / "trials" / f"{number:05d}" / LOG_FILE
    return {json.loads(line)[1] for line in path.read_text().splitlines()}


def read_trials(run: Path) -> list[dict[str, Any]]:
    """The entries of `trials.json`."""
    entries: list[dict[str, Any]] = json.loads((run / "trials.json").read_text())
    return entries


def sweep(run: Path, *overrides: str, resume: bool = False, **shared: object) -> dict[str, Any]:
    """Sweep with the stand-in into `run`; give its result."""
    config = make_config(*overrides)
    folder = RunFolder.resume(run, config) if resume else RunFolder.create(config, run)
    with folder:
        return run_sweep(config, folder, resume, make_parts(shared))


if __name__ == "__main__":
    try:
        sweep(
            Path(sys.argv[1]),
            *sys.argv[3:],
            resume=sys.argv[2] == "resume",
            sleep_s=0.3,
        )
    except KeyboardInterrupt:
        sys.exit(130)
