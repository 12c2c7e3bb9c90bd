"""Errors of remote processes, told once: what failed, where in the code, and where its log lies.

Ray raises what a worker raised as `RayTaskError`, inside of which the worker's own error lies under
several tracebacks; a worker that died has no traceback at all. Nothing here starts or asks Ray.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from parley.platform.errors import ParleyError, display_path

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_PROCESS = re.compile(r"(?P<title>ray::\S+?)\(\) \(pid=(?P<pid>\d+), ip=(?P<ip>[^,)\s]+)")
_FACTS = re.compile(r"^\s*(?P<key>class_name|pid|ip|node_ip): (?P<value>\S+)", re.MULTILINE)
_LIBRARIES = re.compile(r"/(site|dist)-packages/|/lib/python3\.\d+/|^<|^python/ray/")
_SPECULATION = " Some common causes include"
"""Where Ray begins to guess why a process ended."""
MAX_MESSAGE_CHARS = 1500


class RemoteError(ParleyError):
    """A process of the cluster failed; the message tells its error and where to look."""


@contextmanager
def explained() -> Iterator[None]:
    """Raise what a remote process raised as that process's own error, once.

    Raises:
        ParleyError: a worker raised it; it is raised here as it was there.
        RemoteError: any other error of a remote process.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, RayError) and _failed_workers(error) is None:
            raise
        cause = innermost_cause(error)
        if isinstance(cause, ParleyError):
            raise cause from None
        raise RemoteError(explain_remote(error)) from error


def explain_remote(error: BaseException) -> str:
    """One paragraph on an error: its type and message, the last own frame, the process, its log.

    An error that no remote process raised is told by its type and message alone.
    """
    source = _remote_source(error)
    cause = innermost_cause(error)
    message = _first_lines(cause)
    if isinstance(cause, RayActorError):
        told = f"a worker died: {message}"
    elif isinstance(cause, ParleyError):
        told = message
    else:
        told = f"{type(cause).__name__}: {message}"
    if source is None:
        return told
    text = _COLOUR.sub("", str(source))
    parts = [told, _last_frame(text), _place(source, text)]
    return "; ".join(part for part in parts if part)


def innermost_cause(error: BaseException) -> BaseException:
    """The error that the farthest process raised, below all that Ray has wrapped around it."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        if failed := _failed_workers(error):
            error = failed[0]
        elif isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
            error = error.cause
        elif not isinstance(error, RayError) and isinstance(error.__cause__, RayError):
            error = error.__cause__
    return error


def _failed_workers(error: BaseException) -> list[BaseException] | None:
    """What the workers of Ray Train raised, where it raised `error`; None: it did not.

    Runs without Ray Train need not load it.
    """
    train = sys.modules.get("ray.train.v2.api.exceptions")
    if train is None or not isinstance(error, train.WorkerGroupError):
        return None
    return list(error.worker_failures.values())


def _remote_source(error: BaseException) -> BaseException | None:
    """The innermost error in the chain that tells of a remote process; None: there is none."""
    source: BaseException | None = None
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, RayError):
            source = current
        if failed := _failed_workers(current):
            current = failed[0]
        elif isinstance(current, RayTaskError) and isinstance(current.cause, BaseException):
            current = current.cause
        else:
            current = current.__cause__
    return source


def _first_lines(error: BaseException) -> str:
    """The message, without the facts that Ray lists below it."""
    text = _COLOUR.sub("", str(error)).strip() or "no message"
    if isinstance(error, RayActorError) and _FRAME.search(text):
        text = f"it could not be built: {text.splitlines()[-1]}"
    elif isinstance(error, OutOfMemoryError | RayActorError):
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("\t")]
        text = " ".join(lines).partition(_SPECULATION)[0]
    return text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:MAX_MESSAGE_CHARS]} ..."


def _last_frame(text: str) -> str:
    """`at file:line` of the innermost frame that belongs to no library; else of the innermost."""
    frames = [(match["file"], match["line"]) for match in _FRAME.finditer(text)]
    own = [frame for frame in frames if not _LIBRARIES.search(frame[0])] or frames
    if not own:
        return ""
    file, line = own[-1]
    return f"at {display_path(Path(file))}:{line}"


def _place(source: BaseException, text: str) -> str:
    """Which process on which node, and where its log lies."""
    processes = list(_PROCESS.finditer(text))
    facts = {match["key"]: match["value"] for match in _FACTS.finditer(text)}
    if processes:
        title, pid, ip = (processes[-1][key] for key in ("title", "pid", "ip"))
    else:
        title, pid = facts.get("class_name", ""), facts.get("pid", "")
        ip = facts.get("ip", facts.get("node_ip", ""))
    where = " ".join(
        part for part in (title, pid and f"(process {pid})", ip and f"on node {ip}") if part
    )
    if not where:
        return ""
    return f"in {where}; its log: {_log_path(pid)}" if pid else f"in {where}"


def _log_path(pid: str) -> str:
    """The log of a worker: the file where it lies on this machine, else the pattern of its name."""
    session = ray._private.worker.global_worker.node
    folder = Path(session.get_logs_dir_path()) if session is not None else None
    pattern = f"worker-*-{pid}.err"
    if folder is None:
        return f"logs/{pattern} in the node's Ray session folder"
    found = sorted(folder.glob(pattern))
    return str(found[-1]) if found else f"{folder}/{pattern} on that node"
