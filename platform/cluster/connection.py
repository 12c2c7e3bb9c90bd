"""The Ray cluster of a job: one that exists already, or a local one for as long as the job runs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import ray
from ray.exceptions import AuthenticationError

from parley.platform.cluster.access import check_token
from parley.platform.cluster.local_ray import start_local
from parley.platform.cluster.ray_token import MODE_VARIABLE, auth_mode
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import RayConfig
from parley.platform.terminal.native_lines import native_lines_dropped
from parley.platform.terminal.progress import Progress
from parley.platform.terminal.quiet import LEVEL_VARIABLE

ADDRESS_VARIABLE = "RAY_ADDRESS"
CONNECT_TIMEOUT_S = 10.0


@contextmanager
def connect_ray(config: RayConfig, num_workers: int, progress: Progress) -> Iterator[None]:
    """Join the cluster that the settings or `RAY_ADDRESS` name, else start a local one.

    A local cluster asks for a token, see `ray_token`. A cluster that was joined, or that the caller
    had connected to, is left running.

    Args:
        config: which cluster.
        num_workers: processes of one CPU each that the job will ask for.
        progress: says what is waited for.

    Raises:
        ConfigError: the dashboard's port is taken, it would be open to the network without a token,
            no cluster answers at the address, or it refuses the token.
    """
    if ray.is_initialized():
        yield
        return
    address = address_of(config)
    with ExitStack() as stack:
        with progress.status(f"joining Ray at {address}" if address else "starting Ray"):
            connect = (
                partial(_join, address)
                if address
                else partial(start_local, config, num_workers, progress.say)
            )
            with progress.apart_from_stderr():
                stack.enter_context(connected(connect))
        yield


def address_of(config: RayConfig) -> str | None:
    """The cluster to join; None: there is none."""
    return config.address or os.environ.get(ADDRESS_VARIABLE)


@contextmanager
def connected(connect: Callable[[], None]) -> Iterator[None]:
    """Be connected to Ray, by a function that connects, until the block ends."""
    mode = os.environ.get(MODE_VARIABLE)
    try:
        with own_sigterm(), native_lines_dropped(LEVEL_VARIABLE):
            connect()
        yield
    finally:
        with own_sigterm():
            ray.shutdown()
        if mode is None:  # Ray has set it, for itself and its processes
            os.environ.pop(MODE_VARIABLE, None)


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray takes for itself, and later gives to the system."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _join(address: str) -> None:
    auth_mode()
    try:
        _check_answers(address)
        check_token(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except ConfigError:
        raise
    except AuthenticationError as error:
        raise ConfigError(f"{MODE_VARIABLE} is token, but there is no token: {error}") from error
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
