"""The Ray cluster of a job: one that exists already, or a local one for as long as the job runs."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import AuthenticationError

from parley.platform.cluster.access import check_token
from parley.platform.cluster.ray_token import (
    MODE_VARIABLE,
    TOKEN_VARIABLE,
    auth_mode,
    secure_token,
)
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
    address = config.address or os.environ.get(ADDRESS_VARIABLE)
    mode = os.environ.get(MODE_VARIABLE)
    with progress.status(f"joining Ray at {address}" if address else "starting Ray"):
        # Ray takes SIGTERM for itself; a job that stops in order keeps its own handler.
        handler = signal.getsignal(signal.SIGTERM)
        with progress.apart_from_stderr(), native_lines_dropped(LEVEL_VARIABLE):
            if address:
                _join(address)
            else:
                _start_local(config, num_workers, progress)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        _shut_down()
        if mode is None:  # Ray has set it, for itself and its processes
            os.environ.pop(MODE_VARIABLE, None)


def _shut_down() -> None:
    """Leave Ray, which puts the system's default in place of the handler of SIGTERM."""
    handler = signal.getsignal(signal.SIGTERM)
    ray.shutdown()
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


def _start_local(config: RayConfig, num_workers: int, progress: Progress) -> None:
    has_token = auth_mode() != "disabled"
    token_file = secure_token() if has_token else None
    if config.dashboard:
        _check_dashboard(config, has_token)
    if not has_token:
        progress.say(
            f"warning: {MODE_VARIABLE}=disabled: who reaches Ray's ports on this machine runs code "
            f"as you, and they listen on all its addresses; unset it, or close them by a firewall"
        )
    context = ray.init(
        address="local",  # never one that happens to run here
        num_cpus=config.num_cpus or max(num_workers, os.cpu_count() or 1),
        include_dashboard=config.dashboard,
        dashboard_host=config.dashboard_host,
        dashboard_port=config.dashboard_port if config.dashboard else None,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    if config.dashboard:
        print(f"Ray dashboard: http://{context.dashboard_url}", flush=True)
        if has_token:
            print(f"its token: in {token_file or TOKEN_VARIABLE}", flush=True)


def _check_dashboard(config: RayConfig, has_token: bool) -> None:
    """Refuse what the network could use without a token, and a port that is taken."""
    host, port = config.dashboard_host, config.dashboard_port
    if not has_token and not _is_loopback(host):
        raise ConfigError(
            f"ray.dashboard_host {host} would let the network run code here, as {MODE_VARIABLE}="
            f"disabled asks no token; unset {MODE_VARIABLE}, or set ray.dashboard_host=127.0.0.1"
        )
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except socket.gaierror as error:
        raise ConfigError(
            f"ray.dashboard_host {host} is no address ({error.strerror}); write 127.0.0.1, or an "
            f"address of this machine"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"ray.dashboard_port {port} is taken ({error.strerror}) on {host}; choose another, or "
            f"set ray.dashboard=false"
        ) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
