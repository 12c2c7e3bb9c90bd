"""The error of a wrong setting, and how it names a path."""

from __future__ import annotations

from pathlib import Path

from parley.platform.errors import InputError


class ConfigError(InputError):
    """A setting, an override or an experiment's name that cannot be used."""


def display_path(path: Path) -> str:
    """The path relative to the working directory where it lies below it, else in full."""
    resolved = path.resolve()
    try:
        return str(resolved.relative_to(Path.cwd()))
    except ValueError:
        return str(resolved)
