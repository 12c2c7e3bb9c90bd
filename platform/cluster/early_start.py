"""The start of a run whose actors need Ray: it starts while the driver loads the libraries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import ray

from parley.platform.cluster.connection import address_of, connected, own_sigterm
from parley.platform.cluster.local_ray import start_local
from parley.platform.cluster.worker_template import import_libraries, worker_template
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import (
    ExperimentConfig,
    LearnerConfig,
    RayConfig,
    RunnerConfig,
)
from parley.platform.terminal.progress import Progress


@contextmanager
def early_start(
    config: ExperimentConfig, prepare: Callable[[], ExperimentConfig]
) -> Iterator[ExperimentConfig]:
    """Prepare and load the libraries, while a local cluster and its workers' template start.

    The cluster is there until the block ends. None is started where one is joined, and for runs
    without env runners, which start what they need themselves.

    Args:
        config: the experiment.
        prepare: what else is to be done first, without Ray; gives the settings that hold.

    Yields:
        What `prepare` gave.

    Raises:
        ConfigError: the cluster cannot be started so; see `start_local`.
    """
    num_workers = _num_actors(config)
    if not num_workers or address_of(config.ray) or ray.is_initialized():
        yield prepare()
        return
    with worker_template(num_workers) as template, ExitStack() as stack:
        with (
            Progress(()) as progress,
            progress.status("loading libraries, starting Ray"),
            progress.apart_from_stderr(),
            own_sigterm(),
        ):
            cluster = _Cluster(config.ray, num_workers, progress.say, template)
            stack.enter_context(cluster)
            prepared = prepare()
            import_libraries()
            cluster.wait()
        yield prepared


def _num_actors(config: ExperimentConfig) -> int:
    """Env runners and learners of RLlib's, each a process of one CPU."""
    rollouts: RunnerConfig | None = getattr(config, "rollouts", None)
    learner: LearnerConfig | None = getattr(config, "learner", None)
    return rollouts.num_env_runners + learner.num_learners if rollouts and learner else 0


class _Cluster(threading.Thread):
    """Starts Ray and ends it. Its processes end with the thread that began them, Ray sees to it."""

    def __init__(
        self, config: RayConfig, num_workers: int, say: Callable[[str], None], template: Path | None
    ) -> None:
        super().__init__(daemon=True)
        self._connect = partial(start_local, config, num_workers, say, template)
        self._begun = threading.Event()
        self._ended = threading.Event()
        self._error: Exception | None = None

    def run(self) -> None:
        """Connect, and disconnect when it is told to."""
        try:
            with connected(self._connect):
                self._begun.set()
                self._ended.wait()
        except Exception as error:
            self._error = error
        finally:
            self._begun.set()

    def wait(self) -> None:
        """Until Ray runs, or did not start in time; the job then starts it, with nothing beside.

        Raises:
            ConfigError: it cannot be started so.
        """
        self._begun.wait()
        if isinstance(self._error, ConfigError):
            raise self._error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        with own_sigterm():
            self.join()
