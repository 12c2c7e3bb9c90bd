"""The script that Ray runs for a worker: has the template make one, or else becomes it itself.

It imports nothing but the standard library: it ends as soon as the worker is there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import sys
from pathlib import Path

SOCKET_VARIABLE = "PARLEY_WORKER_TEMPLATE"
"""Where the template is asked."""


def main() -> None:
    """Ask the template; where there is none any more, start anew."""
    found = importlib.util.find_spec("ray")
    assert found is not None and found.origin is not None
    script = Path(found.origin).parent / "_private" / "workers" / "default_worker.py"
    arguments = [str(script), *sys.argv[1:]]
    if not ask(arguments):
        os.execv(sys.executable, [sys.executable, "-u", *arguments])


def ask(arguments: list[str]) -> bool:
    """Whether the template has made a worker with these arguments, and what else is this one's."""
    request = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    }
    try:
        with socket.socket(socket.AF_UNIX) as template:
            template.connect(os.environ[SOCKET_VARIABLE])
            data = json.dumps(request).encode()
            sent = socket.send_fds(template, [data], [0, 1, 2])
            template.sendall(data[sent:])
            template.shutdown(socket.SHUT_WR)
            return template.recv(1) != b""
    except (KeyError, OSError):
        return False


if __name__ == "__main__":
    main()
