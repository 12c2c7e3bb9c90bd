"""A run of `parley train`, watched: see `monitoring`.

Jobs that use Ray connect to it themselves. Those that need none join a cluster all the same where
there is one, so that it shows the run and its metrics; they start none for that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from parley.platform.cluster.connection import ADDRESS_VARIABLE, connect_ray
from parley.platform.monitoring.run_monitor import run_monitored
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.terminal.progress import Progress

WITHOUT_RAY = (("dialogue", "pretrain"), ("dialogue", "dpo"), ("dialogue", "detector"))
"""Workflows and algorithms that train in the main process."""


@contextmanager
def monitored(config: ExperimentConfig, run_folder: RunFolder) -> Iterator[None]:
    """Show the run inside the block to a cluster, and to the trackers of its settings.

    Raises:
        ConfigError: a tracker is not installed, or no cluster answers.
    """
    with ExitStack() as stack:
        stack.enter_context(run_monitored(config, run_folder))
        has_cluster = config.ray.address or os.environ.get(ADDRESS_VARIABLE)
        if has_cluster and (config.workflow, config.algorithm) in WITHOUT_RAY:
            with Progress(()) as progress:
                stack.enter_context(connect_ray(config.ray, 0, progress))
        yield
