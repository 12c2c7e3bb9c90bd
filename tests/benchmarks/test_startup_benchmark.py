"""The benchmark of starting up tells three times of each build, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_both_builds_are_timed(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    call = [sys.executable, "-m", "benchmarks.startup", "--experiment", "trace/markov"]
    call += ["--against", str(ROOT), "--runs", "1", "--json", str(file)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "this / other" in done.stdout
    figures = json.loads(file.read_text())
    assert set(figures["seconds"]) == {"this", "other"}
    for runs in figures["seconds"].values():
        (run,) = runs
        assert 0 < run["line"] <= run["row"] <= run["end"]
    assert set(figures["ratios"]) == {"line", "row", "end"}


def test_a_failing_run_is_told(tmp_path: Path) -> None:
    from benchmarks.startup import time_run

    with pytest.raises(RuntimeError, match="exit code 2"):
        time_run(ROOT, ["cartpole/nothing", "--quick"])
