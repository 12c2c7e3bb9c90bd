"""The Ray of a test process: one that counts four CPUs, which tests share.

It is started by the first test that asks for `local_ray`, and lives until the tests end, or until
one wants a cluster of its own, which closes it; the next test that asks starts it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

_QUIET: dict[str, Any] = {
    "address": "local",
    "include_dashboard": False,
    "logging_level": logging.ERROR,
    "log_to_driver": False,
}


def share_ray() -> None:
    """Connect this process to the shared one, unless it is connected already."""
    if not ray.is_initialized():
        ray.init(num_cpus=4, **_QUIET)


@contextmanager
def own_ray(**settings: Any) -> Iterator[None]:
    """A local Ray for these tests alone, with `settings` of `ray.init`."""
    ray.shutdown()
    ray.init(**settings, **_QUIET)
    yield
    ray.shutdown()
