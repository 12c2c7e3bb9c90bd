"""The benchmark of sweeps runs, both do the same work, and everything is counted."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks import sweep  # noqa: E402

BURN_S = 0.5


def burning(seconds: float, then: str = "") -> str:
    """A program that takes so much processor time."""
    return f"import time, os, subprocess, sys\nwhile time.process_time() < {seconds}: pass\n{then}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_quick_run_measures_both(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    call = [sys.executable, "-m", "benchmarks.sweep", "--quick", "--json", str(file)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "of the processor time" in done.stdout
    own, stock = json.loads(file.read_text())
    assert (own["contestant"], stock["contestant"]) == ("parley", "TRL")
    assert own["steps"] == stock["steps"] == [2, 2]
    assert own["losses"] == pytest.approx(stock["losses"], abs=0.02)
    assert min(own["processor_s"], stock["processor_s"]) > 0


@pytest.fixture
def alone(no_ray: None) -> Iterator[None]:
    """What is counted waits for every process below this one, and takes orphans in."""
    yield
    ctypes.CDLL(None).prctl(sweep.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.usefixtures("alone")
def test_processes_that_lose_their_parent_are_counted() -> None:
    orphan = f"subprocess.Popen([sys.executable, '-c', {burning(BURN_S)!r}])\n"
    waited, polled, wall, outputs = sweep.run_counted(
        [[sys.executable, "-c", burning(BURN_S, orphan)]]
    )
    assert max(waited, polled) >= 2 * BURN_S
    assert wall > 0
    assert outputs == [""]


@pytest.mark.usefixtures("alone")
def test_a_command_that_fails_is_shown() -> None:
    with pytest.raises(RuntimeError, match="what went wrong"):
        sweep.run_counted([[sys.executable, "-c", "raise SystemExit('what went wrong')"]])


def test_unequal_work_is_refused() -> None:
    def cost(steps: list[int]) -> sweep.Cost:
        return sweep.Cost("x", 2, steps, [0.6, 0.6], 1.0, 2.0, 1.0)

    sweep.check_equal_work([cost([2, 3]), cost([3, 2])])
    with pytest.raises(RuntimeError, match="unequal"):
        sweep.check_equal_work([cost([2, 3]), cost([2, 2])])
    assert cost([1]).processor_s == 2.0


def test_generated_pairs_stand_in_for_the_real_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_DATA", str(tmp_path))
    rows = sweep.read_pairs(24)
    assert len(rows) == 24
    assert rows[0].keys() == {"prompt", "chosen", "rejected"}
    assert rows == sweep.read_pairs(24)
