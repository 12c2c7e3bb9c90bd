"""The settings of a sweep: what is searched, how, and which trials are kept."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from parley.platform.settings.keys import field_types
from parley.platform.settings.sections import (
    Count,
    ExperimentConfig,
    Positive,
    Rate,
    ReadIf,
    Section,
    When,
    conflict,
)
from parley.platform.settings.spelling import nearest

Value = bool | int | float | str


class SearchRange(Section):
    """The values of one setting; exactly one of the fields is given."""

    grid: Annotated[tuple[Value, ...], Field(min_length=1, strict=False)] | None = None
    """Every one of these."""
    choice: Annotated[tuple[Value, ...], Field(min_length=1, strict=False)] | None = None
    """One of these at random."""
    uniform: Annotated[tuple[float, float], Field(strict=False)] | None = None
    """A number between these two."""
    log_uniform: Annotated[tuple[float, float], Field(strict=False)] | None = None
    """A number between these two, uniform in its logarithm."""

    @property
    def values(self) -> tuple[Value, ...]:
        """The values, of an interval its ends."""
        return self.grid or self.choice or self.uniform or self.log_uniform or ()

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise conflict(
                "sweep.space",
                f"a searched setting needs exactly one of grid, choice, uniform, log_uniform; "
                f"given are {', '.join(given) or 'none'}",
            )
        for name in ("uniform", "log_uniform"):
            bounds = getattr(self, name)
            if bounds is None:
                continue
            low, high = bounds
            if not low < high or (name == "log_uniform" and low <= 0) or math.inf in bounds:
                raise conflict(
                    "sweep.space",
                    f"{name} = [{low}, {high}]: write the lower bound first"
                    f"{', above 0' if name == 'log_uniform' else ''}",
                )
        return self


class AshaConfig(Section):
    """Asynchronous successive halving (Li et al. 2020)."""

    grace_evaluations: Positive = 1
    """Measures before a trial may be stopped."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """Of the trials at each rung, one in so many goes on."""


class PbtConfig(Section):
    """Population-based training (Jaderberg et al. 2017)."""

    perturbation_evaluations: Positive = 2
    """Measures between perturbations."""
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = 0.25
    """Share of the trials that is replaced by copies of the best such share."""


class SweepConfig(Section):
    """Trials side by side through Ray Tune."""

    space: dict[str, dict[str, SearchRange]] = Field(default_factory=dict)
    """Section and key of a setting -> its values."""
    search: Literal["random", "optuna"] = "random"
    """Who draws the values that are no grid."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """Who stops or copies trials before their end."""
    num_samples: Positive = 1
    """Draws from the space; a grid is gone through once for each."""
    max_concurrent: Count = 0
    """Trials at a time; 0: as many as the cluster has room for."""
    cpus_per_trial: Rate = 1.0
    """CPUs of a trial's own process; env runners and learners take one more each."""
    max_failures: Count = 1
    """Times that a failed trial is tried again."""
    asha: AshaConfig = AshaConfig()
    pbt: PbtConfig = PbtConfig()

    @property
    def ranges(self) -> dict[str, SearchRange]:
        """Dotted key of a setting -> its values, in the order of the file."""
        return {
            f"{section}.{name}": searched
            for section, settings in self.space.items()
            for name, searched in settings.items()
        }


class SweepableConfig(ExperimentConfig):
    """An experiment whose settings can be searched.

    A trial is one training; `parley tune` runs many of them, and keeps the one with the best score.
    """

    SEARCHED: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the keys that may be searched: what all trials share depends on none."""
    FIXED: ClassVar[tuple[str, ...]] = ()
    """Beginnings of those that a trial keeps once it has begun: no population may change them."""
    SPACE_EXAMPLE: ClassVar[str] = ""
    """A line of `[sweep.space]`, for messages."""
    READ_IF: ClassVar[tuple[ReadIf, ...]] = (
        *ExperimentConfig.READ_IF,
        ReadIf(("sweep.asha.",), (When("sweep.scheduler", ("asha",)),)),
        ReadIf(("sweep.pbt.",), (When("sweep.scheduler", ("pbt",)),)),
    )

    sweep: SweepConfig = SweepConfig()

    @classmethod
    def searchable(cls) -> list[str]:
        """The dotted keys of the settings that may be searched."""
        return [key for key in field_types(cls) if key.startswith(cls.SEARCHED)]

    @classmethod
    def open_keys(cls) -> dict[str, object]:
        """The values of every setting that may be searched."""
        return {
            f"sweep.space.{key}.{name}": annotation
            for key in cls.searchable()
            for name, annotation in field_types(SearchRange).items()
        }

    def values_of(self, key: str) -> list[object]:
        """The value of a dotted key, and those that a sweep searches."""
        searched = self.sweep.ranges.get(key)
        return [*super().values_of(key), *(() if searched is None else searched.values)]

    def setting_behind(self, key: str) -> str:
        """The searched setting of `sweep.space.<setting>.<kind of range>`, else `key` itself."""
        searched = key.removeprefix("sweep.space.")
        return key if searched == key else searched.rpartition(".")[0]

    @model_validator(mode="after")
    def _check_space(self) -> Self:
        known = self.searchable()
        for key in self.sweep.ranges:
            if key not in known:
                raise conflict(
                    f"sweep.space.{key}",
                    f"sweep.space: there is no setting {key!r} to search{nearest(key, known)}; "
                    f"known are {', '.join(known)}",
                )
        return self
