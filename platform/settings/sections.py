"""What the settings of all experiments are made of: frozen pydantic models and shared tables.

A section is one TOML table. The docstring below a field is its documentation, and rules between
fields live in the experiment that owns both.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field

from parley.platform.settings.section import ReadIf as ReadIf
from parley.platform.settings.section import Section as Section
from parley.platform.settings.section import When as When
from parley.platform.settings.section import conflict as conflict
from parley.platform.settings.tracking import TrackingConfig
from parley.policies.token.table import LANGUAGE_MODELS, POLICIES

RAY_RESOURCES = ("CPU", "GPU", "memory", "object_store_memory")
"""What Ray counts by itself."""


def _check_resources(resources: dict[str, float]) -> dict[str, float]:
    for name in RAY_RESOURCES:
        if name in resources:
            raise ValueError(
                f"{name} is counted by Ray itself; name here what the cluster's machines were "
                f"started with, such as spot in ray start --resources '{{\"spot\": 8}}'"
            )
    return resources


Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Discount = Annotated[float, Field(gt=0.0, le=1.0)]
Resources = Annotated[
    dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")], Rate],
    AfterValidator(_check_resources),
]
"""Names that a cluster gives to what its machines offer -> how much each process takes."""
if TYPE_CHECKING:
    WindowPolicy: TypeAlias = str
    SequencePolicy: TypeAlias = str
else:
    WindowPolicy, SequencePolicy = Literal[tuple(POLICIES)], Literal[LANGUAGE_MODELS]
"""Names of the policies that read windows of tokens, and of those that read whole sequences."""
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
    resources: Resources | None = None
    """What a machine must offer to each, by names that the cluster gives; absent: nothing more."""
    max_restarts: Count = 3
    """Times that a run goes on from its last checkpoint after learner processes were lost."""


class RunnerConfig(Section):
    """The processes that play, and where in a cluster they are put."""

    num_env_runners: Positive = 2
    """Worker processes."""
    placement: Literal["spread", "pack"] = "spread"
    """Over as many machines as there are, those with GPUs last; or onto as few as hold them."""
    resources: Resources | None = None
    """What a machine must offer to each besides a CPU; absent: nothing more."""


class CheckpointConfig(Section):
    """What is saved during training."""

    interval_iterations: Positive = 10
    """Iterations between checkpoints."""
    keep: Positive = 3
    """Newest checkpoints to keep; the best one is kept besides."""
    stop_grace_s: NonNegative = 15.0
    """Seconds that an iteration may go on after Ctrl-C or SIGTERM; then it is given up."""


class RayConfig(Section):
    """The Ray cluster that a run uses."""

    address: str = ""
    """Cluster to join; empty: `RAY_ADDRESS` where it is set, else a local one."""
    num_cpus: Positive | None = None
    """CPUs that a local cluster counts; absent: all, at least one per env runner."""
    wait_s: NonNegative = 600.0
    """Seconds that a run waits until the cluster that it joined has room; 0: not at all."""
    dashboard: bool = False
    """Start the dashboard of a local cluster."""
    dashboard_host: Annotated[str, Field(min_length=1, max_length=255)] = "127.0.0.1"
    """Address that it listens on; another than loopback needs Ray's token authentication."""
    dashboard_port: Annotated[int, Field(ge=1, le=65535)] = 8265
    """Its port."""


class ExperimentConfig(Section):
    """What every experiment has."""

    READ_IF: ClassVar[tuple[ReadIf, ...]] = (
        ReadIf(("ray.dashboard_host", "ray.dashboard_port"), (When("ray.dashboard"),)),
        ReadIf(("ray.num_cpus", "ray.dashboard"), (When("ray.address", ("",)),)),
        ReadIf(("tracking.wandb.",), (When("tracking.callbacks", ("wandb",)),)),
        ReadIf(("tracking.mlflow.",), (When("tracking.callbacks", ("mlflow",)),)),
        ReadIf(("tracking.aim.",), (When("tracking.callbacks", ("aim",)),)),
    )
    """What is read under a condition only; see `unread`."""

    POLICY: ClassVar[str] = ""
    """What is trained, where this does not depend on the settings; see `policy_names`."""

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

    @property
    def policy_names(self) -> tuple[str, ...]:
        """The policies that are trained, by the names of their checkpoints' folders."""
        return (self.POLICY,)

    def values_of(self, key: str) -> list[object]:
        """What a dotted key may be in this experiment: its value first, then what is searched."""
        value: object = self
        for part in key.split("."):
            value = getattr(value, part)
        return [value]

    @classmethod
    def open_keys(cls) -> dict[str, object]:
        """Keys below a table of names that may be set before the table has the name -> types."""
        return {}

    @classmethod
    def follow_choices(
        cls, before: dict[str, object], after: dict[str, object], chosen: Set[str]
    ) -> dict[str, object]:
        """The table to check, where some changes take along what a file says.

        Args:
            before: the settings as nested tables.
            after: the same with the changes.
            chosen: the dotted keys that a person has changed.
        """
        return after

    def setting_behind(self, key: str) -> str:
        """The setting of which `key` is a search range, else itself."""
        return key
