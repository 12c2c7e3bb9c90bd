"""The multi-agent environments by their names in RLlib, which has a table of names of its own.

That table lies in `ray.tune`, whose import takes seconds and loads torch. So the names are entered
when somebody else imports it, or at once where somebody has.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

TABLE = "ray.tune.registry"
"""The module that holds RLlib's table."""

MakeEnvironment = Callable[[str, Mapping[str, Any]], Any]
"""(name, `env_config`) -> the environment; importable, since runners in other processes call it."""


def name_for_rllib(names: Sequence[str], make: MakeEnvironment) -> None:
    """Enter `names` into RLlib's table, as soon as there is one."""
    if TABLE in sys.modules:
        _enter(sys.modules[TABLE], names, make)
    else:
        sys.meta_path.insert(0, _TableFinder(names, make))


def _enter(table: ModuleType, names: Sequence[str], make: MakeEnvironment) -> None:
    for name in names:
        table.register_env(name, partial(make, name))


class _TableFinder(MetaPathFinder):
    """Steps aside at the import of the table, and enters the names right after it."""

    def __init__(self, names: Sequence[str], make: MakeEnvironment) -> None:
        self._names = names
        self._make = make

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != TABLE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _EnteringLoader(spec.loader, self._names, self._make)
        return spec


class _EnteringLoader(Loader):
    """Loads the table as its own loader does, then enters the names."""

    def __init__(self, loader: Loader, names: Sequence[str], make: MakeEnvironment) -> None:
        self._loader = loader
        self._names = names
        self._make = make

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _enter(module, self._names, self._make)
