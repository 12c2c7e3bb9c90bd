"""What parley asks of its own Python process, so that a command begins and ends sooner."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MANY_MODULES = 500
"""Imported by a block, they are worth being left out of later collections."""


@contextmanager
def importing() -> Iterator[None]:
    """Import large libraries in the block without collecting garbage, of which they make none.

    Looking for it again and again is a sixth of the time of importing torch and transformers.
    Later collections do not look through their million objects either.
    """
    was_enabled, num_before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) - num_before >= MANY_MODULES:
            gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def without_optional(package: str) -> Iterator[None]:
    """Have libraries that are imported in the block do without a package that they could use.

    `None` in `sys.modules` is how Python says that a module is not to be had. A package that is
    loaded already stays.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def leave_quickly() -> None:
    """Spare the interpreter its last collections, a second or two with torch and transformers.

    What `atexit` and destructors in reach of a reference count do is done all the same.
    """
    atexit.register(gc.freeze)
