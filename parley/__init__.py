"""parley: distributed reinforcement learning for agents that speak in tokens.

`train`, `evaluate` and `load_run` are imported when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from parley.platform.api import ConfigError as ConfigError
    from parley.platform.api import InputError as InputError
    from parley.platform.api import ParleyError as ParleyError
    from parley.platform.api import Run as Run
    from parley.platform.api import RunStopped as RunStopped
    from parley.platform.api import evaluate as evaluate
    from parley.platform.api import load_run as load_run
    from parley.platform.api import train as train
else:
    _API = {"train", "evaluate", "load_run", "Run", "RunStopped"}
    _API |= {"ParleyError", "InputError", "ConfigError"}

    def __getattr__(name):
        if name not in _API:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("parley.platform.api"), name)
