"""Where a run's figures go besides its folder: TensorBoard, Weights & Biases, MLflow, Aim.

Keys and passwords have no setting here: they come from the environment variables of these programs,
and stand in no file of a run.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field

from parley.platform.settings.section import Section, conflict

Tracker = Literal["wandb", "mlflow", "aim"]
Name = Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]

SECRET_WORDS = ("key", "password", "secret", "token")


def _refuse_secrets(uri: str) -> str:
    """An address without a password in it; the error does not repeat it."""
    parts = urlsplit(uri)
    names = [name.lower() for name, _ in parse_qsl(parts.query)]
    if parts.password or any(word in name for name in names for word in SECRET_WORDS):
        raise conflict(
            "tracking.mlflow.tracking_uri",
            "tracking.mlflow.tracking_uri holds a password or a key, and settings are copied into "
            "every run; leave it out and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment",
        )
    return uri


class WandbConfig(Section):
    """Weights & Biases; its key comes from `WANDB_API_KEY` or `wandb login`."""

    project: Annotated[Name, Field(min_length=1)] = "parley"
    """Project that the runs belong to."""
    entity: Name = ""
    """User or team; empty: the one of the key."""
    mode: Literal["online", "offline"] = "online"
    """Send at once, or write below the run's folder, to be sent by `wandb sync`."""


class MlflowConfig(Section):
    """MLflow; its user or token comes from `MLFLOW_TRACKING_*`."""

    tracking_uri: Annotated[str, AfterValidator(_refuse_secrets)] = ""
    """Server or store; empty: `MLFLOW_TRACKING_URI`, else MLflow's default."""
    experiment_name: Name = ""
    """MLflow's experiment that the runs belong to; empty: this experiment's name."""


class AimConfig(Section):
    """Aim."""

    repo: str = ""
    """Folder or server of the repository; empty: below the run's folder."""
    experiment_name: Name = ""
    """Aim's experiment that the runs belong to; empty: this experiment's name."""


class TrackingConfig(Section):
    """What is told of each row of `metrics.jsonl`."""

    tensorboard: bool = True
    """Write TensorBoard's files below the run's folder."""
    callbacks: list[Tracker] = Field(default_factory=list)
    """Further programs that are told, through Ray's own callbacks."""
    wandb: WandbConfig = WandbConfig()
    mlflow: MlflowConfig = MlflowConfig()
    aim: AimConfig = AimConfig()
