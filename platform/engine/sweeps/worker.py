"""What runs in a trial's worker: one trial after the other in the same process.

Ray Tune keeps the process alive from trial to trial (`reuse_actors`), so libraries are imported and
modules' caches are filled once for each worker. Tune itself receives figures, and as checkpoint a
pointer into the trial's folder: the folder is the truth, also for a sweep that goes on.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune

from parley.platform.engine.sweeps.space import TrialPlan, trial_config
from parley.platform.engine.sweeps.trial_ending import Save, TrialEnding
from parley.platform.engine.sweeps.trial_folder import SavedMeasure, TrialFolder
from parley.platform.engine.torch.loss_fault import NonFiniteLossError, write_fault
from parley.platform.engine.worker_channel import LOOK_INTERVAL_S
from parley.platform.errors import InputError, ParleyError
from parley.platform.monitoring.run_monitor import name_run, trial_monitored
from parley.platform.records import Row, Settings
from parley.platform.settings.sweep import SweepableConfig
from parley.platform.terminal.activities import Teller, listening
from parley.platform.terminal.quiet import quiet_libraries

PLAN = "plan"
"""Key of a trial's `TrialPlan` in Tune's configuration: a table of `TRIAL` and of `VALUES`."""
TRIAL, VALUES = "trial", "values"
SCORE, EVALUATION, ROW, FINAL = "score", "evaluation", "row", "final"
"""Keys of what Tune receives at each measure; `FINAL` marks the end of a hopeless trial."""
FINAL_SCORE = -1.0
"""Score that Tune receives for such a trial: below every other."""
POINTER_FILE = "trial.txt"
THREAD_TIMEOUT_S = "60"
"""How long a stopped trial may take to return before its process is replaced."""
WATCHED = ("score", "loss", "eval_loss")
"""Figures that must stay finite."""

_FETCHED: dict[str, Any] = {}
"""What this process has fetched, by its name in the object store."""

Report = Callable[[Mapping[str, object], Save | None], bool]
"""Takes a measure, with a `score`, and what writes a checkpoint; False: the trial shall return."""
Trial = Callable[[Any, Any, Path, Report, Path | None, TrialEnding], Mapping[str, object]]
"""A trial: settings, what all trials share, its folder, where to report, the checkpoint folder to
continue from, what ends it between measures; gives its final figures."""


class NonFiniteScoreError(ParleyError, FloatingPointError):
    """A figure of a trial that is no longer a finite number."""


def run_in_worker(
    config: Settings,
    *,
    trial: Trial,
    base: SweepableConfig,
    shared: Sequence[ray.ObjectRef[Any]],
    folder: Path,
    channel: Any,
) -> None:
    """Run the trial that Tune's `config` names, from its newest checkpoint where it has one.

    Args:
        config: `PLAN` -> the trial's number and values.
        trial: what to run.
        base: settings of the sweep.
        shared: the place of what all trials share, in the object store; a sequence of one, as Tune
            would fetch a bare one for each trial anew.
        folder: of all trials.
        channel: handle of the sweep's `WorkerChannel`.
    """
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = THREAD_TIMEOUT_S
    quiet_libraries()
    plan = read_plan(config)
    own = TrialFolder(folder / plan.name, base.checkpoint.keep)
    with own.locked(), trial_monitored(base, name_run(base, folder.parent), plan.name):
        session = TrialSession(own, plan, _find_donor(folder, plan))
        ending = TrialEnding(_Looking(channel), session.save_between)
        teller = Teller(lambda lines: channel.tell.remote(plan.name, lines), LOOK_INTERVAL_S)
        try:
            settings = trial_config(base, plan.values)
            with listening(teller):
                figures = trial(
                    settings,
                    _fetch(shared[0]),
                    own.path,
                    session.report,
                    session.restore,
                    ending,
                )
        except (FloatingPointError, InputError) as error:
            session.note_final(error)
            if isinstance(error, NonFiniteLossError):
                write_fault(own.path, error, {"trial": plan.name, "config": dict(plan.values)})
            figures = {}
        except Exception as error:
            own.write_error(error)
            raise
        if not session.is_stopped:
            own.write_done(figures)
    gc.collect()  # the next trial begins in this process, and models hold themselves in cycles
    if session.was_ended:
        # The session of Tune has been told to end; another report would wait indefinitely.
        sys.exit(0)


class _Looking:
    """Whether the sweep is to stop, asked of its channel at a bounded pace."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._looked_s = time.monotonic()

    def __call__(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_INTERVAL_S:
            return False
        self._looked_s = now_s
        return bool(ray.get(self._channel.stop_requested.remote()))


def _fetch(place: ray.ObjectRef[Any]) -> Any:
    """What trials share, unpacked once for each worker: models in it stay loaded."""
    if place.hex() not in _FETCHED:
        _FETCHED.clear()
        _FETCHED[place.hex()] = ray.get(place)
    return _FETCHED[place.hex()]


def read_plan(config: Mapping[str, Any]) -> TrialPlan:
    """The trial that Tune's configuration names."""
    plan = config[PLAN]
    return TrialPlan(int(plan[TRIAL]), dict(plan[VALUES]))


def tune_config(plan: TrialPlan) -> Settings:
    """The opposite of `read_plan`."""
    return {TRIAL: plan.number, VALUES: dict(plan.values)}


class TrialSession:
    """One trial's reports, from the trial's checkpoint or another's on.

    Attributes:
        restore: folder that the trial wrote into and continues from.
        is_stopped: whether the trial was told to return before its end.
        was_ended: whether it was Tune that ended it.
    """

    def __init__(self, own: TrialFolder, plan: TrialPlan, donor: SavedMeasure | None) -> None:
        self._own = own
        self._plan = plan
        self.is_stopped = False
        self.was_ended = False
        rows = own.open_rows()
        if donor is not None:
            own.adopt(donor, plan.values)
        newest = own.to_go_on_from()
        self.restore = None if newest is None else newest.state
        self._num_rows = int(rows[-1]["evaluation"]) if rows else 0
        self._last = dict(rows[-1]) if rows else {}
        self._earlier_s = 0.0 if newest is None else float(newest.row["seconds"])
        self._start_s = time.monotonic()

    def report(self, figures: Mapping[str, object], save: Save | None = None) -> bool:
        """Note a measure and a checkpoint; give whether the trial shall go on.

        Raises:
            KeyError: the figures have no score.
            SystemExit: it was told to return, and reported again.
        """
        if self.is_stopped:
            sys.exit(0)
        if SCORE not in figures:
            raise KeyError(f"a trial's report needs a score; it has {sorted(figures)}")
        broken = [name for name in WATCHED if not _is_finite(figures.get(name, 0.0))]
        if broken:
            return self.note_final(
                NonFiniteScoreError(f"{', '.join(broken)} is not a finite number")
            )
        row = self._make_row(figures)
        if save is not None:
            self._own.save(row, save)
        self._own.append_row(row)
        self._last = row
        return self._tell(row, has_checkpoint=save is not None)

    def save_between(self, step: int, save: Save) -> None:
        """Keep a trial that ends behind its last measure, because the sweep is stopped."""
        seconds = self._earlier_s + time.monotonic() - self._start_s
        row = {"evaluation": 0, **self._last, "seconds": seconds, "config": self._plan.values}
        self._own.save_between(row, save)
        self.is_stopped = True

    def note_final(self, error: Exception) -> bool:
        """End a trial that would fail alike once more: figures not finite, or wrong input."""
        self._own.write_error(error)
        row = {**self._make_row({}), SCORE: FINAL_SCORE, FINAL: True}
        self._tell(row, has_checkpoint=False)
        self.is_stopped = True
        return False

    def _make_row(self, figures: Mapping[str, object]) -> Row:
        self._num_rows += 1
        return {
            "evaluation": self._num_rows,
            **figures,
            "seconds": self._earlier_s + time.monotonic() - self._start_s,
            "config": dict(self._plan.values),
        }

    def _tell(self, row: Row, has_checkpoint: bool) -> bool:
        told = {SCORE: float(row[SCORE]), EVALUATION: row["evaluation"], ROW: row}
        try:
            if has_checkpoint:
                with tempfile.TemporaryDirectory(prefix="parley-") as pointer:
                    place = f"{self._plan.name}/{row[EVALUATION]}"
                    Path(pointer, POINTER_FILE).write_text(place, encoding="utf-8")
                    tune.report(told, checkpoint=tune.Checkpoint.from_directory(pointer))
            else:
                tune.report(told)
        except SystemExit:
            self.is_stopped = self.was_ended = True
        return not self.is_stopped


def _find_donor(folder: Path, plan: TrialPlan) -> SavedMeasure | None:
    """Another trial's checkpoint, where population-based training copies from it.

    Where the other one has gone on and has let go of it: the next one that it has kept.
    """
    pointer = tune.get_checkpoint()
    if pointer is None:
        return None
    with pointer.as_directory() as path:
        name, _, number = Path(path, POINTER_FILE).read_text(encoding="utf-8").partition("/")
    if name == plan.name:
        return None
    found = TrialFolder(folder / name).checkpoints()
    later = [saved for saved in found if int(saved.row[EVALUATION]) >= int(number)]
    return later[0] if later else None


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
