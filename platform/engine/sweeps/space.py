"""The search space: which trials a sweep has, and the checked settings of each.

Everything here is settled before Ray starts: each trial's settings pass through the loader, so that
a value that they refuse is an error of the input and not a trial that fails an hour later.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from ray import tune
from ray.tune.search.variant_generator import generate_variants

from parley.platform.records import Settings
from parley.platform.runs.versions import installing_call
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.keys import field_types
from parley.platform.settings.loading import replace_overrides
from parley.platform.settings.sweep import SearchRange, SweepableConfig, Value

AnyConfig = TypeVar("AnyConfig", bound=SweepableConfig)

THREADS_KEY = "learner.num_threads"


@dataclass(frozen=True)
class TrialPlan:
    """One trial: its number, from 0, and the value of each searched setting by dotted key."""

    number: int
    values: Mapping[str, Value]

    @property
    def name(self) -> str:
        """The name of the trial and of its folder, such as `00003`."""
        return f"{self.number:05d}"


def plan_trials(config: SweepableConfig) -> list[TrialPlan]:
    """The trials of a grid or of random draws, which the seed alone decides.

    With Optuna, which draws as results come in, there are none yet.

    Raises:
        ConfigError: the space is empty, does not fit the search or the scheduler, or holds a value
            that the settings refuse.
    """
    _check_search(config)
    if config.sweep.search == "optuna":
        for key, ends in _ends(config).items():
            for value in ends:
                trial_config(config, {key: value})
        return []
    rng = np.random.RandomState(config.seed)
    plans: list[TrialPlan] = []
    for _ in range(config.sweep.num_samples):
        for resolved, _spec in generate_variants(tune_space(config), random_state=rng):
            drawn = {path[0]: _plain(value) for path, value in resolved.items()}
            values = {key: drawn[key] for key in config.sweep.ranges}
            trial_config(config, values)
            plans.append(TrialPlan(len(plans), values))
    if config.sweep.scheduler == "pbt":
        _check_population(config, len(plans))
    return plans


def trial_config(base: AnyConfig, values: Mapping[str, Value]) -> AnyConfig:
    """The settings of one trial: those of the sweep with `values` in their places.

    A trial computes in as many threads as it has CPUs, so that trials side by side do not get into
    each other's way.

    Raises:
        ConfigError: the settings refuse one of the values.
    """
    threads = {THREADS_KEY: max(1, round(base.sweep.cpus_per_trial))}
    overrides = [f"{key}={_text(value)}" for key, value in {**values, **threads}.items()]
    try:
        return replace_overrides(base, overrides)
    except ConfigError as error:
        raise ConfigError(f"sweep.space: {error}") from error


def tune_space(config: SweepableConfig) -> Settings:
    """Dotted key -> Tune's description of its values; Optuna draws from a grid as from a choice."""
    types = field_types(type(config))
    is_drawn = config.sweep.search == "optuna"
    return {
        key: _domain(searched, types[key] is int, is_drawn)
        for key, searched in config.sweep.ranges.items()
    }


def mutations(config: SweepableConfig) -> Settings:
    """Dotted key -> what population-based training may replace its value by."""
    space = tune_space(config)
    return {
        key: list(searched.grid or searched.choice or ()) or space[key]
        for key, searched in config.sweep.ranges.items()
    }


def clip_values(config: SweepableConfig, values: Mapping[str, Value]) -> dict[str, Value]:
    """`values` moved into their ranges: a mutation multiplies, which may lead out of them."""
    clipped = dict(values)
    for key, searched in config.sweep.ranges.items():
        bounds = searched.uniform or searched.log_uniform
        value = clipped[key]
        if bounds is not None and isinstance(value, int | float):
            clipped[key] = type(value)(min(max(value, bounds[0]), bounds[1]))
    return clipped


def _check_search(config: SweepableConfig) -> None:
    sweep = config.sweep
    if not sweep.ranges:
        raise ConfigError(
            f"sweep.space is empty: there is nothing to search; write for example "
            f"{config.SPACE_EXAMPLE} below [sweep.space]"
        )
    only_grids = all(searched.grid is not None for searched in sweep.ranges.values())
    if sweep.search == "random" and only_grids and sweep.num_samples > 1:
        raise ConfigError(
            f"sweep.num_samples = {sweep.num_samples}: sweep.space holds grids alone, so every "
            f"trial would be run {sweep.num_samples} times with the same seed; write 1, or give a "
            f"setting a choice, uniform or log_uniform"
        )
    if sweep.search == "optuna":
        _check_optuna(config)


def _check_population(config: SweepableConfig, num_trials: int) -> None:
    fixed = [key for key in config.sweep.ranges if key.startswith(config.FIXED)]
    if fixed:
        raise ConfigError(
            f"sweep.scheduler = 'pbt' changes the settings of running trials, and "
            f"{', '.join(fixed)} cannot change in one that has begun; leave it out of sweep.space, "
            f"or choose another scheduler"
        )
    if num_trials < 2:
        raise ConfigError(
            "sweep.scheduler = 'pbt': a population has two members at least, but the space gives "
            "one trial; raise sweep.num_samples or widen a grid"
        )


def _check_optuna(config: SweepableConfig) -> None:
    sweep = config.sweep
    if sweep.scheduler == "pbt":
        raise ConfigError(
            "sweep.scheduler = 'pbt' changes the settings of running trials, sweep.search = "
            "'optuna' learns from settings that stay: choose one; pbt goes with search = 'random'"
        )
    if sweep.num_samples < 2:
        raise ConfigError(
            "sweep.search = 'optuna' draws sweep.num_samples trials (from a grid too), and "
            "num_samples is 1; write for example sweep.num_samples=20"
        )
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(
            "sweep.search = 'optuna': the package optuna is not installed; "
            f"run: {installing_call('optuna')}, or write sweep.search=random"
        )


def _domain(searched: SearchRange, is_whole: bool, is_drawn: bool) -> Any:
    if searched.grid is not None:
        return tune.choice(list(searched.grid)) if is_drawn else tune.grid_search(searched.grid)
    if searched.choice is not None:
        return tune.choice(list(searched.choice))
    bounds = searched.uniform or searched.log_uniform
    assert bounds is not None, "the settings ask for one of the four"
    low, high = bounds
    is_log = searched.log_uniform is not None
    if is_whole:  # Tune's upper bound is exclusive for whole numbers
        first, behind = math.ceil(low), math.floor(high) + 1
        return tune.lograndint(first, behind) if is_log else tune.randint(first, behind)
    return tune.loguniform(low, high) if is_log else tune.uniform(low, high)


def _ends(config: SweepableConfig) -> dict[str, list[Value]]:
    """Values whose soundness shows that of all: every listed one, and the ends of a range."""
    types = field_types(type(config))
    ends: dict[str, list[Value]] = {}
    for key, searched in config.sweep.ranges.items():
        bounds = searched.uniform or searched.log_uniform or ()
        whole = [math.ceil(bounds[0]), math.floor(bounds[1])] if bounds else []
        ends[key] = [
            *(searched.grid or searched.choice or ()),
            *(whole if types[key] is int else bounds),
        ]
    return ends


def _plain(value: Any) -> Value:
    """numpy's numbers as Python's own."""
    item = getattr(value, "item", None)
    plain: Value = value if item is None else item()
    return plain


def _text(value: Value) -> str:
    """A value as TOML."""
    return repr(value) if isinstance(value, float) else json.dumps(value)
