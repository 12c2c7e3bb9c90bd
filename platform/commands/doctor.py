"""`parley doctor`: what this machine can do, one line for each question."""

from __future__ import annotations

import argparse
import http.client
import os
import queue
import shutil
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

from parley.platform.commands.doctor_access import examine_access
from parley.platform.commands.finding import Finding
from parley.platform.commands.tables import print_rows
from parley.platform.errors import EXIT_DONE, EXIT_RUN_FAILED
from parley.platform.runs.run_folder import RUNS_DIR
from parley.platform.runs.versions import installed_versions

RAY_PORTS = {6379: "Ray's head (GCS)", 8265: "Ray's dashboard"}
CGROUP_LIMIT_FILE = Path("/sys/fs/cgroup/memory.max")
"""A container's memory limit in bytes, or the word `max`."""

HUB_TIMEOUT_S = 2.0
DRAWING = ("pygame-ce", "pygame")
"""Distributions of the module `pygame`; the first is maintained, gymnasium names the second."""

MIN_MEMORY_BYTES = 4 * 2**30
MIN_SHARED_MEMORY_BYTES = 2**30
"""Below this Ray's object store moves to /tmp, which is slower."""


def run_doctor(arguments: argparse.Namespace) -> int:
    """Print the findings; the exit code is 1 where something essential is missing."""
    findings = list(examine_machine())
    print_rows([(finding.mark, finding.subject, finding.text) for finding in findings])
    missing = any(finding.mark == "missing" for finding in findings)
    return EXIT_RUN_FAILED if missing else EXIT_DONE


def examine_machine() -> Iterator[Finding]:
    """Every finding about this machine, in the order of the report."""
    yield from _examine_packages()
    yield _examine_processor()
    yield _examine_memory()
    yield _examine_shared_memory()
    yield _examine_gpu()
    yield _examine_import("ray")
    for port, owner in RAY_PORTS.items():
        yield _examine_port(port, owner)
    yield from examine_access()
    yield _examine_runs_dir()
    yield _examine_display()
    yield examine_drawing()
    yield examine_hub()


def _examine_packages() -> Iterator[Finding]:
    for name, version in installed_versions().items():
        if version is None:
            yield Finding(
                "missing", name, 'not installed; run pip install -c constraints.txt -e "."'
            )
        else:
            yield Finding("ok", name, version)


def _examine_processor() -> Finding:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    advice = "" if cores > 1 else "; set rollouts.num_env_runners=1"
    return Finding("ok" if cores > 1 else "warn", "processor", f"{cores} cores usable{advice}")


def _examine_memory() -> Finding:
    size_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP_LIMIT_FILE.read_text().strip() if CGROUP_LIMIT_FILE.is_file() else "max"
    if limit.isdigit():
        size_bytes = min(size_bytes, int(limit))
    enough = size_bytes >= MIN_MEMORY_BYTES
    advice = "" if enough else f"; Ray with two workers wants {_gib(MIN_MEMORY_BYTES)}"
    return Finding("ok" if enough else "warn", "memory", _gib(size_bytes) + advice)


def _examine_shared_memory() -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding("warn", "/dev/shm", "absent; Ray's object store uses /tmp, which is slower")
    free = shutil.disk_usage(folder).free
    enough = free >= MIN_SHARED_MEMORY_BYTES
    advice = "" if enough else "; in a container give it more by --shm-size"
    return Finding("ok" if enough else "warn", "/dev/shm", f"{_gib(free)} free{advice}")


def _examine_gpu() -> Finding:
    try:
        cuda = import_module("torch").cuda
        names = [cuda.get_device_name(index) for index in range(cuda.device_count())]
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("missing", "torch", f"cannot be imported: {error}")
    if names:
        return Finding("ok", "gpu", f"{', '.join(names)}; use it by learner.num_gpus_per_learner=1")
    return Finding("ok", "gpu", "none; learning runs on the CPU")


def _examine_import(module: str) -> Finding:
    try:
        version = import_module(module).__version__
    except (ImportError, OSError) as error:
        return Finding("missing", f"import {module}", f"fails: {error}")
    return Finding("ok", f"import {module}", f"works ({version})")


def _examine_port(port: int, owner: str) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            text = f"taken ({error.strerror}); {owner} is running already or takes another port"
            return Finding("warn", f"port {port}", text)
    return Finding("ok", f"port {port}", f"free for {owner}")


def _examine_runs_dir() -> Finding:
    folder = RUNS_DIR if RUNS_DIR.exists() else Path.cwd()
    free = shutil.disk_usage(folder).free
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Finding("ok", f"{RUNS_DIR}/", f"can be written, {_gib(free)} free on the disk")
    return Finding("warn", f"{RUNS_DIR}/", f"{folder} cannot be written; name a --run-dir")


def _examine_display() -> Finding:
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        if os.environ.get(variable):
            return Finding("ok", "display", f"{variable}={os.environ[variable]}")
    return Finding("ok", "display", "none; parley watch writes a file")


def examine_drawing() -> Finding:
    """Whether CartPole can be drawn: by pygame-ce or by pygame, which both are `import pygame`."""
    found = {name: version for name in DRAWING if (version := _version_of(name))}
    told = " and ".join(f"{name} {version}" for name, version in found.items())
    if not found:
        text = "neither pygame-ce nor pygame: parley watch draws no CartPole; pip install pygame-ce"
        return Finding("warn", "drawing", text)
    if len(found) > 1:
        names = " ".join(found)
        text = f"{told} share a folder; pip uninstall -y {names}, then pip install {DRAWING[0]}"
        return Finding("warn", "drawing", text)
    return Finding("ok", "drawing", told)


def _version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def examine_hub() -> Finding:
    """Whether Hugging Face's hub answers, unless the environment forbids to ask."""
    constants = import_module("huggingface_hub.constants")
    if constants.HF_HUB_OFFLINE:
        return Finding("ok", "hugging face", "not asked, HF_HUB_OFFLINE is set")
    place, advice = constants.ENDPOINT, "; HF_HUB_OFFLINE=1 spares every run the wait"
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    started = time.perf_counter()
    # In a thread: looking a name up has no time limit of its own.
    threading.Thread(target=lambda: answers.put(_ask(place)), daemon=True).start()
    try:
        problem = answers.get(timeout=HUB_TIMEOUT_S)
    except queue.Empty:
        text = f"no answer within {HUB_TIMEOUT_S:g} s: {place}{advice}"
        return Finding("warn", "hugging face", text)
    if problem:
        return Finding("warn", "hugging face", f"no answer: {place}: {problem}{advice}")
    seconds = time.perf_counter() - started
    return Finding("ok", "hugging face", f"{place} answered in {seconds:.1f} s")


def _ask(url: str) -> str:
    """What keeps `url` from being read; empty where it answers."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S):
            return ""
    except (OSError, http.client.HTTPException, ValueError) as error:
        text = str(error).removeprefix("<urlopen error ").removesuffix(">")
        return text or type(error).__name__


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"
