"""The benchmark runs and prints its three tables; its times are not judged here."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "dhmm_scan.py"


def test_benchmark_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(BENCHMARK))["main"](["--quick"])
    printed = capsys.readouterr().out
    for title in ("Scan, forward + backward", "Training step", "Decoding one token"):
        assert title in printed
