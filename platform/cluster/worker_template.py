"""A process with the large libraries loaded, of which Ray's workers are made by `fork`.

A worker of its own Python process spends most of its start on importing torch and transformers.
The template imports them once, while the driver does the same and Ray starts; `forked_worker`,
which Ray runs in place of its own script, asks it for a copy. Ray itself is not loaded here: what
it keeps of a process (random state, settings) must not be shared. The template ends with the
driver, however that ends; where there is none, workers start as they always do.
"""

from __future__ import annotations

import array
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parley.platform.terminal.interpreter import importing, without_optional

SIZE_LIMIT = 1 << 22
"""Bytes of a request: arguments and environment."""
NUM_STREAMS = 3
LIBRARIES = ("torch", "transformers.models.gpt2.modeling_gpt2", "pandas", "pyarrow", "gymnasium")
"""What every process of a run imports, without Ray."""


def import_libraries() -> None:
    """Load them; transformers without scipy, which only its losses for pictures use."""
    with importing(), without_optional("scipy"):
        for name in LIBRARIES:
            importlib.import_module(name)


@contextmanager
def worker_template() -> Iterator[Path]:
    """Keep a template for as long as the block runs; the path of its socket."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        path = Path(folder, "workers")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(os.cpu_count() or 1)
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno())],
                stdin=subprocess.PIPE,  # at whose end the template ends
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is the driver's
                # As Ray has it in workers of one CPU; asking for GPUs must not start CUDA.
                env={"OMP_NUM_THREADS": "1", **os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
            )
        try:
            yield path
        finally:
            with process:  # closes the pipe
                process.kill()


def serve(listener: socket.socket) -> None:
    """Make a worker of each request, until standard input ends."""
    import_libraries()
    gc.freeze()  # no collection writes to the pages that all workers share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        with listener.accept()[0] as asking:
            request, streams = _receive(asking)
            if request is not None and os.fork() == 0:
                listener.close()
                asking.close()
                _become(request, streams)
            for stream in streams:
                os.close(stream)
            if request is not None:
                asking.send(b"done")


def _receive(asking: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """What is asked for and the standard streams; None: whoever asked has gone."""
    asking.settimeout(10.0)
    streams: list[int] = []
    parts: list[bytes] = []
    try:
        while not parts or parts[-1]:
            part, ancillary, _, _ = asking.recvmsg(SIZE_LIMIT, socket.CMSG_SPACE(NUM_STREAMS * 4))
            parts.append(part)
            for _, _, data in ancillary:
                found = array.array("i")
                found.frombytes(data[: len(data) - len(data) % found.itemsize])
                streams.extend(found)
        return json.loads(b"".join(parts)), streams
    except (OSError, ValueError):
        return None, streams


def _become(request: Mapping[str, Any], streams: list[int]) -> None:
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
        sys.argv = request["arguments"]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
