"""Which settings name something outside of the run: models, data, judges.

Such a setting is marked where it is declared: `path: Annotated[str, Input("data")]`. What it names
is pinned when a run begins, see `checkpoints.inputs`; only its place may change afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from parley.platform.settings.section import Section

Kind = Literal["model", "checkpoint", "data", "pairs", "detector", "judge"]
Settings = TypeVar("Settings", bound=Section)


@dataclass(frozen=True)
class Input:
    """The mark of a setting that names something outside; an empty name is none."""

    kind: Kind
    only_at_start: bool = False
    """Whether a run that has a checkpoint reads it no more."""


@dataclass(frozen=True)
class NamedInput:
    """One thing outside, as the settings name it."""

    key: str
    """Dotted; `data.labelled.0` is the first of a list."""
    name: str
    mark: Input


def list_inputs(section: Section, prefix: str = "") -> list[NamedInput]:
    """Everything outside that the settings name."""
    return list(_walk(section, prefix))


def _walk(section: Section, prefix: str) -> Iterator[NamedInput]:
    for field_name, field in type(section).model_fields.items():
        value, key = getattr(section, field_name), prefix + field_name
        mark = next((found for found in field.metadata if isinstance(found, Input)), None)
        if isinstance(value, Section):
            yield from _walk(value, f"{key}.")
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                if isinstance(inner, Section):
                    yield from _walk(inner, f"{key}.{name}.")
        elif mark is not None and isinstance(value, str):
            yield from [NamedInput(key, value, mark)] if value else []
        elif mark is not None and isinstance(value, Sequence):
            yield from (NamedInput(f"{key}.{n}", name, mark) for n, name in enumerate(value))


def with_places(config: Settings, places: Mapping[str, str]) -> Settings:
    """A copy of settings in which inputs are named by where they lie.

    Args:
        config: checked settings.
        places: key of `list_inputs` -> the new name.
    """
    table: dict[str, Any] = config.model_dump()
    for key, place in places.items():
        *path, last = key.split(".")
        inner: Any = table
        for step in path[:-1]:
            inner = inner[step]
        if last.isdecimal():  # an entry of a list
            names = list(inner[path[-1]])
            names[int(last)] = place
            inner[path[-1]] = tuple(names)
        else:
            (inner[path[-1]] if path else inner)[last] = place
    return type(config).model_validate(table)
