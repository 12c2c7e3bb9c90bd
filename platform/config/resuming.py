"""Which settings may change when a run goes on: those that decide none of its figures."""

from __future__ import annotations

from collections.abc import Sequence

from parley.platform.config.errors import ConfigError
from parley.platform.config.loading import changed_keys, quick_overrides, replace_overrides
from parley.platform.config.sections import ExperimentConfig

CHANGEABLE = (
    "stop.",
    "ray.",
    "checkpoint.",
    "tracking.",
    "learner.max_restarts",
    "learner.resources",
    "rollouts.placement",
    "rollouts.resources",
    "rollouts.sample_timeout_s",
)
"""Keys, or beginnings of the keys that a resumed run may change; all else decides its figures."""


def resumed_settings(
    stored: ExperimentConfig, name_or_path: str, overrides: Sequence[str], quick: bool = False
) -> ExperimentConfig:
    """The run's stored settings with the overrides that a resumed run accepts.

    Overrides that repeat a stored value are accepted, so that a command can be given again with
    `--resume` added.

    Raises:
        ConfigError: an override would change more than `CHANGEABLE`.
    """
    repeated = quick_overrides(name_or_path) if quick else []
    settings = replace_overrides(stored, [*repeated, *overrides])
    refused = [key for key in changed_keys(stored, settings) if not key.startswith(CHANGEABLE)]
    if refused:
        changeable = [f"{key}*" if key.endswith(".") else key for key in CHANGEABLE]
        raise ConfigError(
            f"a resumed run keeps its settings, but the overrides change {', '.join(refused)}; "
            f"leave them out (only {', '.join(changeable)} may change) or "
            f"start a new run without --resume"
        )
    return settings
