"""What a command may change of a run that exists: what decides none of its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parley.platform.settings.errors import ConfigError
from parley.platform.settings.inputs import list_inputs, with_places
from parley.platform.settings.loading import (
    changed_keys,
    override_values,
    quick_overrides,
    replace_overrides,
)
from parley.platform.settings.sections import ExperimentConfig

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
    `--resume` added; and new places of its inputs, see `split_moved`.

    Raises:
        ConfigError: an override would change more than `CHANGEABLE`.
    """
    repeated = quick_overrides(name_or_path) if quick else []
    settings = replace_overrides(stored, [*repeated, *overrides])
    moved = split_moved(stored, settings)[1]
    changed = changed_keys(stored, settings)
    refused = [key for key in changed if not key.startswith(CHANGEABLE) and key not in moved]
    if refused:
        changeable = [f"{key}*" if key.endswith(".") else key for key in CHANGEABLE]
        raise ConfigError(
            f"a resumed run keeps its settings, but the overrides change {', '.join(refused)}; "
            f"leave them out (only {', '.join(changeable)} may change) or "
            f"start a new run without --resume"
        )
    return settings


def split_moved(
    stored: ExperimentConfig, settings: ExperimentConfig
) -> tuple[ExperimentConfig, dict[str, str]]:
    """What `settings` change, without the names of inputs; and those by their keys.

    A run keeps the names that it began with. That what lies under a new one is the same is checked
    when it is read.
    """
    names = {entry.key: entry.name for entry in list_inputs(stored)}
    moved = {
        entry.key: entry.name
        for entry in list_inputs(settings)
        if entry.key in names and entry.name != names[entry.key]
    }
    return with_places(settings, {key: names[key] for key in moved}), moved


def moved_inputs(config: ExperimentConfig, overrides: Sequence[str]) -> Mapping[str, str]:
    """Where the inputs of a run lie now, as `key=value` arguments of a command say.

    Raises:
        ConfigError: one of them is no input of the run.
    """
    values = override_values(config, overrides)
    known = [entry.key for entry in list_inputs(config)]
    refused = [key for key in values if key not in known]
    if refused:
        raise ConfigError(
            f"{', '.join(refused)}: a run is measured with the settings that it was trained with; "
            f"only where its models, data and judges lie can be said: {', '.join(known) or 'none'}"
        )
    return {key: str(value) for key, value in values.items()}
