"""What the tests of monitoring share."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import ray

from tests.shared_ray import own_ray

Scrape = Callable[[set[str]], dict[str, float]]
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def scrape() -> Iterator[Scrape]:
    """A Ray of this process, and what its agent shows Prometheus, once all that is asked is there.

    Series are written `name{run="r",...}` with parley's own tags alone, sorted.
    """
    with own_ray(num_cpus=2, _system_config={"metrics_report_interval_ms": 500}):
        port = ray.nodes()[0]["MetricsExportPort"]
        yield lambda wanted: _wait_for(port, wanted)


def _wait_for(port: int, wanted: set[str]) -> dict[str, float]:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            found = _parse(answer.read().decode())
        if wanted <= set(found) or time.monotonic() > deadline:
            return found
        time.sleep(0.3)


def _parse(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if line.startswith("ray_parley_"):
            name, _, rest = line.partition("{")
            labels, _, value = rest.rpartition("} ")
            own = [label for label in labels.split(",") if label.startswith(OWN)]
            found[f"{name}{{{','.join(sorted(own))}}}"] = float(value)
    return found


OWN = ("run=", "policy=", "worker=", "kind=")
