"""The error of a wrong setting."""

from __future__ import annotations

from parley.platform.errors import InputError


class ConfigError(InputError):
    """A setting, an override or an experiment's name that cannot be used."""
