"""What the tests of faults share: a local Ray."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A cluster of four CPUs in this process, unless other tests have one already."""
    if ray.is_initialized():
        yield
        return
    ray.init(num_cpus=4, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()
