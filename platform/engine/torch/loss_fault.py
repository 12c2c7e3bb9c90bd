"""The error of a loss or gradient that is not finite, and the files that keep what is known of it.

fault.json          what failed and where: step, loss terms, learning rates, hash of the weights
fault.safetensors   the batch
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from parley.platform.errors import ParleyError
from parley.platform.runs.files import atomic_write_text, to_json

FAULT_FILE, BATCH_FILE = "fault.json", "fault.safetensors"


@dataclass(frozen=True)
class LossFault:
    """What is known where training broke off."""

    facts: Mapping[str, Any]
    """Plain values."""
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """The batch, by name."""


class NonFiniteLossError(ParleyError, FloatingPointError):
    """A loss or gradient that is not finite; nothing was learned from the batch."""

    def __init__(self, message: str, fault: LossFault | None = None) -> None:
        super().__init__(message)
        self.fault = fault

    def __reduce__(self) -> tuple[Any, ...]:
        # It travels between processes, with what is known.
        return type(self), (str(self), self.fault)


def batch_columns(batch: Mapping[str, Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """The tensors and arrays of a batch as arrays on the CPU; what else it holds is left out."""
    columns = {}
    for name, value in batch.items():
        if isinstance(value, Tensor):
            columns[f"{prefix}{name}"] = value.detach().cpu().numpy()
        elif isinstance(value, np.ndarray):
            columns[f"{prefix}{name}"] = value
    return columns


def count_non_finite(columns: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Column -> how many of its numbers are not finite; only those that have any."""
    counts = {
        name: int((~np.isfinite(array)).sum())
        for name, array in columns.items()
        if np.issubdtype(array.dtype, np.floating)
    }
    return {name: count for name, count in counts.items() if count}


def write_fault(folder: Path, error: NonFiniteLossError, more: Mapping[str, Any]) -> Path:
    """Write down what an error knows, and `more` facts, into `folder`; where it stands."""
    fault = error.fault or LossFault({})
    facts = {"error": str(error), **more, **fault.facts}
    facts["non_finite"] = count_non_finite(fault.columns)
    atomic_write_text(folder / FAULT_FILE, to_json(_spell(facts), indent=2) + "\n")
    (folder / BATCH_FILE).unlink(missing_ok=True)
    if fault.columns:
        columns = {name: np.ascontiguousarray(array) for name, array in fault.columns.items()}
        save_file(columns, folder / BATCH_FILE)
    return folder / FAULT_FILE


def _spell(value: Any) -> Any:
    """Numbers that JSON has not as words: here they are the point."""
    if isinstance(value, Mapping):
        return {name: _spell(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_spell(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
