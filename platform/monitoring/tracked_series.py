"""One series of rows, in the form in which Tune's callbacks read a trial."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from parley.platform.records import Settings
from parley.platform.runs.files import atomic_write_text, to_json
from parley.platform.runs.run_folder import RunFolder

STEP_KEY = "training_iteration"
"""Under which Tune's callbacks find a row's step; importing the constant takes half a second."""
TRACKING_FILE = "tracking.json"
"""In the run folder: the id under which trackers know the run, also when it goes on."""
TRIAL_KEY, CONFIG_KEY = "trial", "config"


@dataclass(eq=False)
class TrackedSeries:
    """A run, or a trial of a sweep; it has what Tune's callbacks read of a `Trial`."""

    name: str
    trial_id: str
    config: Settings
    """Dotted key -> setting; plain values alone."""
    folder: Path
    experiment_dir_name: str
    step: int = -1
    """Of the newest row."""

    @classmethod
    def begin(cls, run: RunFolder, row: Mapping[str, object], folder: Path | None) -> Self:
        """The series of a row.

        Args:
            run: its folder.
            row: the first one.
            folder: where the callback writes, if it writes.
        """
        trial = cls.name_of(row)
        changed = row.get(CONFIG_KEY)
        settings = _flatten(run.config.model_dump(mode="json", exclude_none=True))
        settings |= changed if isinstance(changed, Mapping) else {}
        own_folder = run.path if folder is None else folder / trial
        own_id = read_tracking_id(run.path)
        return cls(
            name=f"{run.path.name}-{trial}" if trial else run.path.name,
            trial_id=f"{own_id}-{trial}" if trial else own_id,
            config=settings,
            folder=own_folder,
            experiment_dir_name=run.config.experiment,
        )

    @staticmethod
    def name_of(row: Mapping[str, object]) -> str:
        """The trial that a row belongs to; empty for a run that is no sweep."""
        return str(row.get(TRIAL_KEY, ""))

    def is_before(self, row: Mapping[str, object]) -> bool:
        """Whether the step of a row was there before: something went on from a checkpoint."""
        return _step_of(row) <= self.step

    def advance(self, row: Mapping[str, object]) -> int:
        """Take note of a row; give its step."""
        self.step = _step_of(row)
        return self.step

    def __str__(self) -> str:
        return self.name

    @property
    def evaluated_params(self) -> Settings:
        """The settings, as Tune names them."""
        return self.config

    @property
    def local_path(self) -> str:
        """Where the callback may write."""
        return str(self.folder)

    path = local_path
    local_experiment_path = local_path

    def init_local_path(self) -> None:
        """Make that folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def get_ray_actor_ip(self) -> None:
        """The machine of a trial's worker, which is not known here."""


def read_tracking_id(run: Path) -> str:
    """The id of a run for trackers, unlike that of any other run; made when it is first asked."""
    path = run / TRACKING_FILE
    if not path.is_file():
        atomic_write_text(path, to_json({"id": uuid.uuid4().hex[:16]}) + "\n")
    return str(json.loads(path.read_text(encoding="utf-8"))["id"])


def _step_of(row: Mapping[str, object]) -> int:
    return int(str(row["evaluation"] if row.get(TRIAL_KEY) else row["iteration"]))


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Settings:
    """The plain values of nested settings, by dotted keys."""
    flat: Settings = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str | int | float) else str(value)
    return flat
