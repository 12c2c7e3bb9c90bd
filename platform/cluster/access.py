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

from parley.platform.cluster.ray_token import (
    MODE_VARIABLE,
    PATH_VARIABLE,
    TOKEN_VARIABLE,
    auth_mode,
    has_token,
    secure_token,
    token_file,
)
from parley.platform.settings.errors import ConfigError

METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What every client asks first; the request is empty."""
TIMEOUT_S = 10.0


def check_token(address: str) -> None:
    """Ask the cluster at `host:port` with the token, if any; other addresses are left to Ray.

    Raises:
        ConfigError: the cluster wants a token and has got none, or another.
    """
    if auth_mode() == "token" and not has_token():
        raise refusal(address)
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit() or not _is_refused(address):
        return
    if not show_token(host) or _is_refused(address):
        raise refusal(address)


def show_token(host: str) -> bool:
    """Have Ray show the user's token from here on, where a cluster on `host` may see it.

    That is where `RAY_AUTH_MODE` is unset and there is a token: one that the environment names is
    shown to any cluster, the default file's to one on this machine, after its mode was tightened.

    Returns:
        Whether it is shown, and was not before.
    """
    if auth_mode() is not None or not has_token() or not (_is_named() or _is_here(host)):
        return False
    if not _is_named():
        secure_token()
    # Its advice is to turn authentication off.
    logging.getLogger(maybe_enable_token_auth_if_token_available.__module__).setLevel("ERROR")
    return bool(maybe_enable_token_auth_if_token_available())


def refusal(address: str) -> ConfigError:
    """The error of a cluster that wants a token and has got none, or another."""
    if auth_mode() == "token" and not has_token():
        return ConfigError(
            f"{MODE_VARIABLE} is token, but {_source()} holds none; put the token of the Ray "
            f"cluster at {address} there, or name the file that holds it by {PATH_VARIABLE}"
        )
    if auth_mode() == "token":
        return ConfigError(
            f"the Ray cluster at {address} refuses the token in {_source()}; put its own token "
            f"there, or name the file that holds it by {PATH_VARIABLE}"
        )
    return ConfigError(
        f"the Ray cluster at {address} wants a token; set {MODE_VARIABLE}=token, and name the file "
        f"that holds its token by {PATH_VARIABLE} (now: {_source()})"
    )


def _source() -> str:
    """Where Ray takes the token from."""
    return str(token_file() or TOKEN_VARIABLE)


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
