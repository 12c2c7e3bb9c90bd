"""Who may run code through Ray: what `parley doctor` says of its job APIs and its token.

Only this machine, and the cluster that the environment names, are asked.
"""

from __future__ import annotations

import http.client
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

from parley.platform.cluster.ray_token import (
    MODE_VARIABLE,
    TOKEN_VARIABLE,
    auth_mode,
    others_may_read,
    token_file,
)
from parley.platform.commands.finding import Finding
from parley.platform.commands.submit import ADDRESS_VARIABLES
from parley.platform.settings.errors import ConfigError

DASHBOARD_PORT, AGENT_PORT = 8265, 52365
JOBS_PATH, AGENT_PATH = "/api/jobs/", "/api/job_agent/jobs/"
TIMEOUT_S = 2.0
ADVICE = (
    "whoever reaches it runs code there (CVE-2023-48022); restart Ray with RAY_AUTH_MODE=token, "
    "see docs/tasks/security.md"
)


def examine_access() -> Iterator[Finding]:
    """Whether the job APIs answer without a token, and whether the token is the owner's alone."""
    for place in _dashboards():
        yield examine_api("ray dashboard", place, JOBS_PATH)
    yield examine_api("ray node agent", f"127.0.0.1:{AGENT_PORT}", AGENT_PATH)
    yield _examine_token()


def _dashboards() -> list[str]:
    """`host:port` of this machine's dashboard and of the named cluster's, each once."""
    places = {f"127.0.0.1:{DASHBOARD_PORT}": None}
    for variable in ADDRESS_VARIABLES:
        address = os.environ.get(variable, "")
        try:
            parts = urlsplit(address if "://" in address else f"//{address}")
            host, port = parts.hostname, parts.port
        except ValueError:
            continue
        if host is None or host in ("auto", "local"):
            continue
        is_dashboard = parts.scheme in ("http", "https") and port is not None
        name = f"[{host}]" if ":" in host else host
        places[f"{name}:{port if is_dashboard else DASHBOARD_PORT}"] = None
    return list(places)


def examine_api(subject: str, place: str, path: str) -> Finding:
    """Whether the job API below `path` of `host:port` answers without a token."""
    status = _ask(f"http://{place}{path}")
    if status is None:
        return Finding("ok", subject, f"none answers at {place}")
    if status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        return Finding("ok", subject, f"{place} asks for a token")
    # The agent's path takes jobs only, and refuses to be read.
    if status in (http.HTTPStatus.OK, http.HTTPStatus.METHOD_NOT_ALLOWED):
        return Finding("warn", subject, f"{place} answers without a token: {ADVICE}")
    return Finding("ok", subject, f"{place} answers {status}: no job API")


def _ask(url: str) -> int | None:
    """The status of an answer without a token; None where none comes."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException, ValueError):
        return None


def _examine_token() -> Finding:
    try:
        mode = auth_mode()
    except ConfigError as error:
        return Finding("warn", "ray token", str(error))
    if mode == "disabled":
        text = f"{MODE_VARIABLE}=disabled: local clusters let everybody in; unset it"
        return Finding("warn", "ray token", text)
    path = token_file()
    if path is None:
        return Finding("ok", "ray token", f"in {TOKEN_VARIABLE}")
    if not path.is_file():
        return Finding("ok", "ray token", f"none yet in {path}; the first local cluster makes one")
    rights = f"mode {stat.S_IMODE(path.stat().st_mode):04o}"
    if others_may_read(path):
        text = f"others may read {path} ({rights}); delete it for a new one, or chmod 600 it"
        return Finding("warn", "ray token", text)
    return Finding("ok", "ray token", f"in {path}, {rights}")
