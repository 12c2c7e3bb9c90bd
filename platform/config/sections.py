"""What the settings of all experiments are made of: frozen pydantic models and shared tables.

A section is one TOML table. The docstring below a field is its documentation (pydantic reads it),
and rules between fields live in the experiment that owns both.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from parley.platform.config.section import Section as Section
from parley.platform.config.section import conflict as conflict
from parley.platform.config.tracking import TrackingConfig

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Discount = Annotated[float, Field(gt=0.0, le=1.0)]
ExperimentName = Annotated[
    str,
    Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"),
]


class LearnerConfig(Section):
    """The processes that compute gradients."""

    num_learners: Count = 0
    """Learner processes; 0 learns in the main process."""
    num_gpus_per_learner: NonNegative | None = None
    """GPUs of each learner; 0 learns on the CPU; absent: one where the cluster has it."""
    num_threads: Count = 1
    """Torch threads of each learner; 0: as many as torch chooses."""


class CheckpointConfig(Section):
    """What is saved during training."""

    interval_iterations: Positive = 10
    """Iterations between checkpoints."""
    keep: Positive = 3
    """Newest checkpoints to keep; the best one is kept besides."""


class RayConfig(Section):
    """The Ray cluster that a run uses."""

    address: str = ""
    """Cluster to join; empty: `RAY_ADDRESS` where it is set, else a local one."""
    num_cpus: Positive | None = None
    """CPUs that a local cluster counts; absent: all, at least one per env runner."""
    dashboard: bool = False
    """Start the dashboard of a local cluster, on loopback."""
    dashboard_port: Annotated[int, Field(ge=1, le=65535)] = 8265
    """Its port."""


class ExperimentConfig(Section):
    """What every experiment has."""

    workflow: str
    """The part of parley that runs it."""
    algorithm: str
    """How it learns."""
    experiment: ExperimentName
    """Name under which the runs are filed."""
    summary: str = ""
    """One line for `parley list`."""
    seed: Count = 0
    """Seed of all randomness of the run."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    ray: RayConfig = RayConfig()
    tracking: TrackingConfig = TrackingConfig()
