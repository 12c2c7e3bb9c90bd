"""A real Prometheus that scrapes a Ray cluster, with the settings and alerts that parley ships."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.ray_head import LOOPBACK, free_ports

ROOT = Path(__file__).parents[3]
SETTINGS = ROOT / "deploy" / "prometheus"
START_TIMEOUT_S = 60.0
POLL_S = 0.2


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; the test is skipped where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine; Debian's package is prometheus")
    return found


class PrometheusServer:
    """A context manager.

    Args:
        folder: for its settings and data.
        ray_folder: Ray's temporary folder, where the list of machines lies.
    """

    def __init__(self, folder: Path, ray_folder: Path) -> None:
        self._program = program("prometheus")
        self._folder = folder
        self._ray_folder = ray_folder
        self.url = f"http://{LOOPBACK}:{free_ports(1)[0]}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        shutil.copy(SETTINGS / "alerts.yml", self._folder)
        text = (SETTINGS / "prometheus.yml").read_text()
        assert "/tmp/ray/" in text and ": 10s" in text
        text = text.replace("/tmp/ray/", f"{self._ray_folder}/").replace(": 10s", ": 1s")
        (self._folder / "prometheus.yml").write_text(text)
        call = [
            self._program,
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(call, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError((self._folder / "prometheus.log").read_text())
            time.sleep(POLL_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression over all time until now, each with its last value.

        Raises:
            ValueError: Prometheus cannot read the expression.
        """
        end = time.time()
        parameters = {"query": expression, "start": end - 600, "end": end, "step": 2}
        url = f"{self.url}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{expression}: {error.read().decode()}") from error
        return result

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
