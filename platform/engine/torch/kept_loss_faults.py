"""Training that stops at a loss or gradient that is not finite: the run folder keeps the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from parley.platform.engine.torch.loss_fault import BATCH_FILE, NonFiniteLossError, write_fault
from parley.platform.errors import display_path
from parley.platform.runs.checkpoints import CheckpointStore
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.sections import ExperimentConfig


@contextmanager
def keeping_faults(config: ExperimentConfig, run_folder: RunFolder) -> Iterator[None]:
    """Write what is known of a batch without a loss into the run folder; say where, and what to do.

    Raises:
        NonFiniteLossError: as raised within, with that in its message.
    """
    try:
        yield
    except NonFiniteLossError as error:
        rows = run_folder.read_metrics()
        reached = {"iterations_done": rows[-1]["iteration"] if rows else 0}
        path = write_fault(run_folder.path, error, reached)
        batch = f" and {BATCH_FILE}" if error.fault is not None and error.fault.columns else ""
        told = f"{error}; what is known of the batch: {display_path(path)}{batch}"
        raise type(error)(f"{told}; {_remedy(config, run_folder)}", error.fault) from error


def _remedy(config: ExperimentConfig, run_folder: RunFolder) -> str:
    """A resumed run keeps its settings: with others, a new one has to begin where this one was."""
    if CheckpointStore(run_folder.checkpoints).find("last") is None:
        return "begin anew with the lower setting"
    place = display_path(run_folder.path)
    if "init_from" in type(config).model_fields:
        return f"the last checkpoint stands: begin a new run with init_from={place}"
    return f"the last checkpoint stands: begin a new run with {place} as the model"
