"""One TOML table of an experiment, as a frozen pydantic model; `sections` has those of all."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


def conflict(key: str, message: str) -> PydanticCustomError:
    """The error for two settings that cannot stand together; `key` is the one to change first."""
    return PydanticCustomError("conflict", "{message}", {"key": key, "message": message})


@dataclass(frozen=True)
class When:
    """A condition on one setting."""

    key: str
    """Dotted."""
    values: tuple[object, ...] = ()
    """It has one of these, or holds one where it is a list; none: anything but 0, false, empty."""


@dataclass(frozen=True)
class ReadIf:
    """Settings that are read under a condition only."""

    keys: tuple[str, ...]
    """Dotted; what ends in a dot means all that begins so."""
    when: tuple[When, ...] = ()
    """One of these holds; none: they are never read, although a section that is shared has them."""
    instead: str = "leave it out"
    """What to do, where they are never read."""

    def concerns(self, key: str) -> bool:
        """Whether the rule is about this setting."""
        return any(key.startswith(own) if own.endswith(".") else key == own for own in self.keys)


class Section(BaseModel):
    """A TOML table: immutable, strictly typed, without unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )
