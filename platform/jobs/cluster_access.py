"""Whether a cluster lets this process in, asked before Ray tries for long and says little."""

from __future__ import annotations

import logging
import os
import socket

import grpc
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray._private.grpc_utils import init_grpc_channel

from parley.platform.config.errors import ConfigError
from parley.platform.jobs.ray_token import (
    MODE_VARIABLE,
    PATH_VARIABLE,
    TOKEN_VARIABLE,
    auth_mode,
    has_token,
    token_file,
)

METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What every client asks first; the request is empty."""
TIMEOUT_S = 10.0


def check_token(address: str) -> None:
    """Ask the cluster at `host:port` with the token, if any; other addresses are left to Ray.

    Where the cluster wants a token, `RAY_AUTH_MODE` is unset and there is a token, it is shown to a
    cluster on this machine, or where the environment names it; Ray then goes on with it.

    Raises:
        ConfigError: the cluster wants a token and has got none, or another.
    """
    source = token_file() or TOKEN_VARIABLE
    if auth_mode() == "token" and not has_token():
        raise ConfigError(
            f"{MODE_VARIABLE} is token, but {source} holds none; put the token of the Ray cluster "
            f"at {address} there, or name the file that holds it by {PATH_VARIABLE}"
        )
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit() or not _is_refused(address):
        return
    if auth_mode() is None and has_token() and (_is_named() or _is_here(host)):
        # Its advice is to turn authentication off.
        logging.getLogger(maybe_enable_token_auth_if_token_available.__module__).setLevel("ERROR")
        maybe_enable_token_auth_if_token_available()
        if not _is_refused(address):
            return
    if auth_mode() == "token":
        raise ConfigError(
            f"the Ray cluster at {address} refuses the token in {source}; put its own token there, "
            f"or name the file that holds it by {PATH_VARIABLE}"
        )
    raise ConfigError(
        f"the Ray cluster at {address} wants a token; set {MODE_VARIABLE}=token, and name the file "
        f"that holds its token by {PATH_VARIABLE} (now: {source})"
    )


def _is_named() -> bool:
    """Whether the environment says which token to show."""
    return bool(os.environ.get(TOKEN_VARIABLE) or os.environ.get(PATH_VARIABLE))


def _is_refused(address: str) -> bool:
    """Whether the cluster says that the token is missing or wrong."""
    with init_grpc_channel(address) as channel:
        try:
            channel.unary_unary(METHOD)(b"", timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def _is_here(host: str) -> bool:
    """Whether the address is one of this machine: only then can a socket be bound to it."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(place)
    except OSError:
        return False
    return True
