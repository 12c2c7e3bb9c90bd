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


@contextmanager
def monitored(config: ExperimentConfig, run_folder: RunFolder, starts_ray: bool) -> Iterator[None]:
    """Show the run inside the block to a cluster, and to the trackers of its settings.

    Args:
        config: the experiment.
        run_folder: where the run lies.
        starts_ray: whether the job connects to a cluster itself.

    Raises:
        ConfigError: a tracker is not installed, or no cluster answers.
    """
    with ExitStack() as stack:
        stack.enter_context(run_monitored(config, run_folder))
        has_cluster = config.ray.address or os.environ.get(ADDRESS_VARIABLE)
        if has_cluster and not starts_ray:
            with Progress(()) as progress:
                stack.enter_context(connect_ray(config.ray, 0, progress))
        yield
