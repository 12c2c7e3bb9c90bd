"""What all runs that train have in common: a folder, checkpoints, the time they took, an end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from parley.platform.records import Facts, Metrics, Result
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore
from parley.platform.runs.result import conclude_run, newest_figures
from parley.platform.runs.run_folder import RunFolder

CURVE_FILE = "learning_curve.png"


class TrainingRun(ABC):
    """A run between two of its steps.

    Args:
        run_folder: where everything is written.
        keep: newest checkpoints to keep.
    """

    def __init__(self, run_folder: RunFolder, keep: int) -> None:
        self.run_folder = run_folder
        self.store = CheckpointStore(run_folder.checkpoints, keep)
        self.seconds = 0.0
        """That training took, over all processes that took part."""

    @abstractmethod
    def measure_end(self, checkpoint: Checkpoint | None) -> Metrics:
        """The final figures of a finished run; those of its best checkpoint, else its newest."""

    def measure_stop(self) -> Metrics:
        """The figures of a run that was stopped."""
        return newest_figures(self.run_folder)

    def draw(self, rows: Sequence[Mapping[str, object]], path: Path) -> None:  # noqa: B027
        """Draw the learning curve into a PNG file, if there shall be one."""

    def details(self) -> Facts:
        """What the result says besides."""
        return {}

    def conclude(self, stopped: bool = False) -> Result:
        """Measure the best checkpoint, draw the curve, write the result.

        Raises:
            KeyboardInterrupt: it was stopped, and may go on; the result says so.
        """
        checkpoint = self.store.find("best") or self.store.find("last")
        rows = self.run_folder.read_metrics()
        if rows:
            self.draw(rows, self.run_folder.path / CURVE_FILE)
        metrics = self.measure_stop() if stopped else self.measure_end(checkpoint)
        status = "stopped" if stopped else "done"
        result = conclude_run(
            self.run_folder, status, self.seconds, metrics, checkpoint, **self.details()
        )
        if stopped:
            raise KeyboardInterrupt
        return result
