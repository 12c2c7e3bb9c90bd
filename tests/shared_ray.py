"""The Ray of a test process: one that counts four CPUs, which tests share.

It is started by the first test that asks for `local_ray`, and lives until the tests end, or until
one wants a cluster of its own, which closes it; the next test that asks starts it anew. Its workers
are copies of a template, as those of a run's own cluster are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray

from parley.platform.cluster.local_ray import start_local
from parley.platform.cluster.worker_template import worker_template
from parley.platform.settings.sections import RayConfig

NUM_CPUS = 4
_template = ExitStack()


def share_ray() -> None:
    """Connect this process to the shared one, unless it is connected already."""
    if not ray.is_initialized():
        close_ray()
        template = _template.enter_context(worker_template(num_workers=0))
        start_local(RayConfig(num_cpus=NUM_CPUS), NUM_CPUS, print, template)


def close_ray() -> None:
    """Have this process connected to none, and nothing of the shared one below it."""
    ray.shutdown()
    _template.close()


@contextmanager
def own_ray(**settings: Any) -> Iterator[None]:
    """A local Ray for these tests alone, with `settings` of `ray.init`."""
    close_ray()
    ray.init(
        address="local",
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        **settings,
    )
    yield
    ray.shutdown()
