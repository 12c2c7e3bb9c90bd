"""The Ray cluster of a job: one that exists already, or a local one for as long as the job runs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from parley.platform.config.errors import ConfigError
from parley.platform.config.sections import RayConfig
from parley.platform.jobs.remote_errors import explained
from parley.platform.telemetry.progress import Progress

LOOPBACK = "127.0.0.1"
ADDRESS_VARIABLE = "RAY_ADDRESS"
CONNECT_TIMEOUT_S = 10.0


@contextmanager
def connect_ray(config: RayConfig, num_workers: int, progress: Progress) -> Iterator[None]:
    """Join the cluster that the settings or `RAY_ADDRESS` name, else start a local one.

    A cluster that was joined, or that the caller had connected to, is left running.

    Args:
        config: which cluster.
        num_workers: processes of one CPU each that the job will ask for.
        progress: says what is waited for.

    Raises:
        ConfigError: the dashboard's port is taken, or no cluster answers at the address.
        RemoteError: a process of the cluster failed meanwhile; see `remote_errors`.
    """
    if ray.is_initialized():
        with explained():
            yield
        return
    address = config.address or os.environ.get(ADDRESS_VARIABLE)
    with progress.status(f"joining Ray at {address}" if address else "starting Ray"):
        # Ray takes SIGTERM for itself; a job that stops in order keeps its own handler.
        handler = signal.getsignal(signal.SIGTERM)
        if address:
            _join(address)
        else:
            _start_local(config, num_workers)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    try:
        with explained():
            yield
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    try:
        _check_answers(address)
        ray.init(address=address, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {address} (ray.address, {ADDRESS_VARIABLE}): {error}; "
            f"start one or leave the address out to use a local one"
        ) from error


def _check_answers(address: str) -> None:
    """Open a connection to `host:port`: Ray itself would try for ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()


def _start_local(config: RayConfig, num_workers: int) -> None:
    if config.dashboard:
        _check_port_free(config.dashboard_port)
    context = ray.init(
        num_cpus=config.num_cpus or max(num_workers, os.cpu_count() or 1),
        include_dashboard=config.dashboard,
        dashboard_host=LOOPBACK,
        dashboard_port=config.dashboard_port if config.dashboard else None,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    if config.dashboard:
        print(f"Ray dashboard: http://{context.dashboard_url}", flush=True)


def _check_port_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise ConfigError(
                f"ray.dashboard_port {port} is taken ({error.strerror}); choose another, or set "
                f"ray.dashboard=false"
            ) from error
