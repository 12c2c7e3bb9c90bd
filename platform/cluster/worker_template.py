"""A process with the large libraries loaded, of which Ray's workers are made by `fork`.

Most of a worker's start is the import of torch, transformers and RLlib. The template imports what
does not know Ray once, while the driver does the same and Ray starts; `forked_worker`, which Ray
runs in place of its own script, asks it for a copy. Ray is loaded in the copies only: what it keeps
of a process (random state, settings) must not be shared. The template ends with the driver, however
that ends; where there is none, workers start as they always do.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from parley.platform.terminal.interpreter import importing, without_optional

LIBRARIES = ("torch", "transformers.models.gpt2.modeling_gpt2", "pandas", "pyarrow", "gymnasium")
"""What every process of a run loads, and what knows nothing of Ray."""
WORKER_LIBRARIES = ("ray.rllib.algorithms.ppo",)
"""What env runners load besides."""
NUM_STREAMS = 3
REQUEST_S = 10.0
"""How long a request may take to arrive."""


def import_libraries() -> None:
    """Load them; transformers without scipy, which only its losses for pictures use."""
    with importing(), without_optional("scipy"):
        for name in LIBRARIES:
            importlib.import_module(name)


@contextmanager
def worker_template(num_workers: int) -> Iterator[Path | None]:
    """Keep a template for as long as the block runs.

    Args:
        num_workers: how many copies load `WORKER_LIBRARIES` before they are asked to do anything.

    Yields:
        The path of its socket; None where the system has no sound `fork`, or no such path.
    """
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        path = Path(folder, "workers")
        try:
            process = _start(path, num_workers) if sys.platform == "linux" else None
        except OSError:
            process = None
        if process is None:
            yield None
            return
        try:
            yield path
        finally:
            with process:
                process.kill()


def _start(path: Path, num_workers: int) -> subprocess.Popen[bytes]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(listener.fileno()), str(num_workers)],
            stdin=subprocess.PIPE,  # it ends when this does
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            process_group=0,  # Ctrl-C is for the driver
            # One thread, as Ray has it in workers of one CPU; and no question may start CUDA.
            env={"OMP_NUM_THREADS": "1", **os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
        )


def serve(listener: socket.socket, num_workers: int) -> None:
    """Make a worker of each request, until standard input ends."""
    import_libraries()
    gc.freeze()  # no collection writes to the pages that all workers share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    number = 0
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        with listener.accept()[0] as asking, suppress(OSError, ValueError):
            asking.settimeout(REQUEST_S)
            request, streams = _receive(asking)
            number += 1
            if os.fork() == 0:
                listener.close()
                asking.close()
                _become(request, streams, WORKER_LIBRARIES if number <= num_workers else ())
            for stream in streams:
                os.close(stream)
            asking.send(b"made")


def _receive(asking: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What is asked for, and the standard streams of who asks."""
    part, streams, _, _ = socket.recv_fds(asking, 1 << 16, NUM_STREAMS)
    parts = [part]
    while part := asking.recv(1 << 16):
        parts.append(part)
    return json.loads(b"".join(parts)), streams


def _become(request: Mapping[str, Any], streams: Sequence[int], libraries: Sequence[str]) -> None:
    """Be the worker that was asked for; never returns."""
    code = 1
    try:
        os.setpgid(0, 0)  # Ray kills a worker's whole group when it has ended
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
        os.setpriority(os.PRIO_PROCESS, 0, request["niceness"])
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        with importing():
            for name in libraries:
                importlib.import_module(name)
        sys.argv = request["arguments"]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
