"""The error of a wrong setting, and its wording: where, what is wrong, what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from parley.platform.errors import InputError


class ConfigError(InputError):
    """A setting, an override or an experiment's name that cannot be used."""


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)` for the known word closest to `word`, or an empty string."""
    candidates = list(known)
    found = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    if not found:
        by_leaf = {_leaf(candidate): candidate for candidate in candidates}
        leaves = difflib.get_close_matches(_leaf(word), by_leaf, n=1, cutoff=0.6)
        found = [by_leaf[leaf] for leaf in leaves]
    return f" (did you mean {found[0]}?)" if found else ""


def _leaf(name: str) -> str:
    return re.split("[./]", name)[-1]


def display_path(path: Path) -> str:
    """The path relative to the working directory where it lies below it, else in full."""
    resolved = path.resolve()
    try:
        return str(resolved.relative_to(Path.cwd()))
    except ValueError:
        return str(resolved)
