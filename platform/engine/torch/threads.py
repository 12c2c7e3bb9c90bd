"""How many threads torch computes with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def limit_threads(num_threads: int) -> Iterator[None]:
    """At most so many torch threads, no more than there are cores; 0: as many as torch chooses."""
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if num_threads:
        torch.set_num_threads(min(num_threads, cores))
    try:
        yield
    finally:
        torch.set_num_threads(before)
