"""How a trial ends between two measures, without another one. Torch-free and Ray-free."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

Save = Callable[[Path], None]
"""Writes a checkpoint into a folder that exists and is empty."""


@dataclass(frozen=True)
class TrialEnding:
    """What asks a trial to end, and takes what it has reached."""

    is_stopping: Callable[[], bool]
    """Asked after each gradient step."""
    save: Callable[[int, Save], None]
    """Takes the number of gradient steps, and what writes the checkpoint into a folder."""
    interrupting: Callable[[], AbstractContextManager[None]] = nullcontext
    """Makes the block in which a step, or a measure, may be given up."""
