"""A Ray cluster of this machine alone, with no more processes than a run uses."""

from __future__ import annotations

import functools
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import parameter, services, utils

from parley.platform.cluster import forked_worker
from parley.platform.cluster.forked_worker import SOCKET_VARIABLE
from parley.platform.cluster.ray_token import (
    MODE_VARIABLE,
    TOKEN_VARIABLE,
    auth_mode,
    secure_token,
)
from parley.platform.records import Settings
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import RayConfig

REGISTER_TIMEOUT_S = 300
"""How long a worker may take to be there: it may wait until its template has loaded all."""


def start_local(
    config: RayConfig,
    num_workers: int,
    say: Callable[[str], None],
    template: Path | None = None,
) -> None:
    """Start a cluster that holds `num_workers` processes of one CPU each, and connect to it.

    Args:
        config: how many CPUs it counts, and its dashboard.
        num_workers: processes that the job will ask for.
        say: tells people.
        template: of the workers, see `worker_template`.

    Raises:
        ConfigError: the dashboard's port is taken, or would be open to the network without a token.
    """
    has_token = auth_mode() != "disabled"
    token_file = secure_token() if has_token else None
    if config.dashboard:
        _check_dashboard(config, has_token)
    if not has_token:
        say(
            f"warning: {MODE_VARIABLE}=disabled: who reaches Ray's ports on this machine runs code "
            f"as you, and they listen on all its addresses; unset it, or close them by a firewall"
        )
    with _few_processes(config.dashboard, template):
        context = ray.init(
            address="local",  # never one that happens to run here
            num_cpus=config.num_cpus or max(num_workers, os.cpu_count() or 1),
            include_dashboard=config.dashboard,
            dashboard_host=config.dashboard_host,
            dashboard_port=config.dashboard_port if config.dashboard else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _system_config={
                "worker_register_timeout_seconds": REGISTER_TIMEOUT_S,
                "num_workers_soft_limit": num_workers,  # kept although they are idle
            },
        )
    if config.dashboard:
        print(f"Ray dashboard: http://{context.dashboard_url}", flush=True)
        if has_token:
            print(f"its token: in {token_file or TOKEN_VARIABLE}", flush=True)


@contextmanager
def _few_processes(has_dashboard: bool, template: Path | None) -> Iterator[None]:
    """Have `ray.init` start nothing that only a dashboard uses, and workers by their template.

    Ray's nodes can be told that, `ray.init` cannot.
    """
    settings: Settings = {}
    with ExitStack() as stack:
        if template is not None:
            settings["worker_path"] = forked_worker.__file__
            stack.enter_context(_replaced(os.environ, SOCKET_VARIABLE, str(template)))
        if not has_dashboard:
            settings |= {"no_monitor": True, "include_log_monitor": False}
            # It would start the dashboard's process all the same, to report usage.
            stack.enter_context(_replaced(vars(services), "start_api_server", _start_nothing))
            # What the agents need is installed; to see to it Ray would load it here.
            stack.enter_context(_replaced(vars(utils), "get_dashboard_dependency_error", _none))
        parameters = functools.partial(parameter.RayParams, **settings)
        stack.enter_context(_replaced(vars(parameter), "RayParams", parameters))
        yield


def _start_nothing(*arguments: object, **options: object) -> tuple[None, None]:
    """No address, no process."""
    return None, None


def _none() -> None:
    """No error."""


@contextmanager
def _replaced(names: MutableMapping[str, Any], name: str, value: object) -> Iterator[None]:
    """Let a name mean something else within."""
    before = names.get(name)
    names[name] = value
    try:
        yield
    finally:
        if before is None:
            del names[name]
        else:
            names[name] = before


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
