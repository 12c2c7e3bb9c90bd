"""The benchmark of monitoring runs, and its figures belong together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_quick_run_measures_both(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    call = [sys.executable, "-m", "benchmarks.monitoring", "--quick", "--json", str(file)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ratio of pairs" in done.stdout
    figures = json.loads(file.read_text())
    assert min(figures["watched_s"], figures["unwatched_s"], figures["row_ms"]) > 0
    low, high = figures["quartiles"]
    assert low <= figures["ratio"] <= high
