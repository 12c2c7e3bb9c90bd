"""Settings that others leave without effect, refused where a person sets them.

Each experiment declares in `READ_IF` what only one of several kinds reads (policies, algorithms,
schedulers, trackers), and what a switch that is off by default has to turn on. A stage that is on
by default and was turned off keeps its settings. The files that come with the package give every
setting a value, read or not; that stays allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import ExperimentConfig, When


def refuse_unread(config: ExperimentConfig, given: Mapping[str, str]) -> None:
    """Refuse settings that nothing reads.

    Args:
        config: checked settings.
        given: dotted keys that a person has set -> where.

    Raises:
        ConfigError: one line for each such key.
    """
    found = {key: explain_unread(config, key) for key in given}
    lines = [f"{given[key]}: {reason}" for key, reason in found.items() if reason]
    if lines:
        raise ConfigError("\n".join(lines))


def refuse_sweep_settings(keys: Sequence[str]) -> None:
    """Refuse what `parley tune` alone reads.

    Raises:
        ConfigError: one of the keys is such a setting.
    """
    sweeping = [key for key in keys if key.startswith("sweep.")]
    if sweeping:
        raise ConfigError(
            f"{', '.join(sweeping)}: read by parley tune, not by parley train; leave it out, or "
            f"run parley tune"
        )


def explain_unread(config: ExperimentConfig, key: str) -> str:
    """Why nothing reads a setting, and what to do; empty: something may read it."""
    target = config.setting_behind(key)
    for rule in config.READ_IF:
        if not rule.concerns(target):
            continue
        if not rule.when:
            return f"{config.experiment} never reads {target}; {rule.instead}"
        if not any(_may_hold(config, when) for when in rule.when):
            first = rule.when[0]
            value = _toml(config.values_of(first.key)[0])
            remedies = " or ".join(_remedy(config, when) for when in rule.when)
            return (
                f"nothing reads {target} where {first.key} is {value}; leave it out, or {remedies}"
            )
    return ""


def _may_hold(config: ExperimentConfig, when: When) -> bool:
    """Whether the condition holds, in a sweep for one of the values that are searched."""
    for value in config.values_of(when.key):
        if not when.values:
            if value:
                return True
        elif any(item in when.values for item in (value if isinstance(value, list) else [value])):
            return True
    return False


def _remedy(config: ExperimentConfig, when: When) -> str:
    value = config.values_of(when.key)[0]
    if when.values == ("",):
        return f"leave out {when.key}"
    if when.values:
        names = " or ".join(_toml([v] if isinstance(value, list) else v) for v in when.values)
        return f"set {when.key} to {names}"
    return f"set {when.key} to true" if isinstance(value, bool) else f"set {when.key} above 0"


def _toml(value: object) -> str:
    return json.dumps(value, default=str)
