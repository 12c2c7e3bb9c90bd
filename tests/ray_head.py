"""A real Ray head in processes of its own, as a cluster would have it; tests connect to it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.processes import descendants, is_alive

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 120.0
POLL_S = 0.2
AUTH_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS")


class RayHead:
    """A head node with its dashboard, on loopback and on free ports; a context manager.

    Args:
        folder: for its log and its token file.
        token: what clients have to show; None: authentication is off.
        num_cpus: that it counts.
        dashboard: whether to start the dashboard, and with it the job API.
        environment: further variables of its processes.
        python: interpreter of its processes; the tests' own by default.
        resources: what `ray start --resources` is given, as JSON.
    """

    def __init__(
        self,
        folder: Path,
        token: str | None = None,
        num_cpus: int = 2,
        dashboard: bool = True,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
        resources: str = "{}",
    ) -> None:
        self.folder = folder
        self.log = folder / "ray_head.log"
        self.token = token
        self._num_cpus = num_cpus
        self._has_dashboard = dashboard
        self._extra = dict(environment or {})
        self._python = python
        self._resources = resources
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a client that may use the cluster."""
        outer = {key: value for key, value in os.environ.items() if key not in AUTH_VARIABLES}
        if self.token is None:
            return {**outer, "RAY_AUTH_MODE": "disabled"}
        return {**outer, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}

    @property
    def token_file(self) -> Path:
        """Where the token lies."""
        return self.folder / "ray_token"

    @property
    def address(self) -> str:
        """`host:port` of the cluster, for `RAY_ADDRESS` and `ray.init`."""
        return f"{LOOPBACK}:{self._ports['gcs']}"

    @property
    def dashboard_url(self) -> str:
        """Where the dashboard and the job API answer."""
        return f"http://{LOOPBACK}:{self._ports['dashboard']}"

    @property
    def metrics_port(self) -> int:
        """Where the node's agent shows metrics to Prometheus."""
        return self._ports["metrics"]

    @property
    def agent_port(self) -> int:
        """Where the node's agent takes jobs, too."""
        return self._ports["agent"]

    @property
    def session_folder(self) -> Path:
        """Ray's files of this session."""
        return (self._temp / "session_latest").resolve()

    def pids(self) -> dict[int, str]:
        """Process ids of the cluster, with their titles."""
        assert self._process is not None
        return {self._process.pid: "ray start", **descendants(self._process.pid)}

    def __enter__(self) -> Self:
        # Sockets have short names only: pytest's own folders would be too deep.
        self._temp = Path(tempfile.mkdtemp(prefix="parley-ray-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.token is not None:
            self.token_file.touch(mode=0o600)
            self.token_file.write_text(self.token, encoding="utf-8")
        names = ("gcs", "dashboard", "metrics", "agent", "agent_grpc", "client")
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._call(),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**self.environment, **self._extra},
                start_new_session=True,
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all processes of the cluster."""
        if self._process is None:
            return
        end_processes(self._process)
        self._process = None
        shutil.rmtree(self._temp, ignore_errors=True)

    def _call(self) -> list[str]:
        ports = self._ports
        options = {
            "node-ip-address": LOOPBACK,
            "port": ports["gcs"],
            "ray-client-server-port": ports["client"],
            "metrics-export-port": ports["metrics"],
            "dashboard-agent-listen-port": ports["agent"],
            "dashboard-agent-grpc-port": ports["agent_grpc"],
            # Any free ports: heads that run at the same time would take each other's otherwise.
            "min-worker-port": 0,
            "max-worker-port": 0,
            "include-dashboard": str(self._has_dashboard).lower(),
            "dashboard-host": LOOPBACK,
            "dashboard-port": ports["dashboard"],
            "temp-dir": self._temp,
            "num-cpus": self._num_cpus,
            "resources": self._resources,
        }
        call = [self._python, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        call += ["--disable-usage-stats"]
        return [*call, *(f"--{name}={value}" for name, value in options.items())]

    def _wait_until_up(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the Ray head did not start:\n{self.log.read_text()}")
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        if not self._has_dashboard:
            with socket.socket() as probe:
                return probe.connect_ex((LOOPBACK, self._ports["gcs"])) == 0
        token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(f"{self.dashboard_url}/api/jobs/", headers=token)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def end_processes(process: subprocess.Popen[bytes]) -> None:
    """End a process in order, and whatever of those below it is left after that."""
    pids = {process.pid, *descendants(process.pid)}
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    pids |= set(descendants(process.pid))
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    while any(is_alive(pid) for pid in pids):
        time.sleep(POLL_S)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
