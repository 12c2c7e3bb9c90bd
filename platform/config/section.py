"""One TOML table of an experiment, as a frozen pydantic model; `sections` has those of all."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


def conflict(key: str, message: str) -> PydanticCustomError:
    """The error for two settings that cannot stand together; `key` is the one to change first."""
    return PydanticCustomError("conflict", "{message}", {"key": key, "message": message})


class Section(BaseModel):
    """A TOML table: immutable, strictly typed, without unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )
