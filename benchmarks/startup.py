"""From Enter to the first figures, compared with another build of parley.

    python -m benchmarks.startup --against CHECKOUT [--experiment NAME] [--runs N] [--json FILE]

Both builds run `parley train EXPERIMENT --quick` by turns, in pairs whose order changes, in fresh
processes with the same Python environment: what else the machine does meets both alike. What
either builds on first use (parley-tiny, judges) is built by a run of its own that is not counted.
Without `--against` this build is timed alone.

Three times of each run count, in seconds after its start: the first line that tells of work, the
first row of figures of training, and the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT = "dialogue/dpo"
NUM_RUNS = 5
FOLDER_LINE = "run folder:"
"""What every build says first; it tells of no work."""
ROW = re.compile(r"\b(step|iteration) \d")
"""How a row of figures begins where there is no terminal."""


class Times(NamedTuple):
    """Seconds of one run from its start."""

    line: float
    """To the first line that tells of work."""
    row: float
    """To the first row of figures of training."""
    end: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="folder of another build")
    parser.add_argument("--experiment", default=EXPERIMENT, metavar="NAME", help="what is trained")
    parser.add_argument(
        "--runs", type=int, default=NUM_RUNS, metavar="N", help="runs of each build"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the runs")
    options = parser.parse_args(arguments)
    builds = {"this": ROOT}
    if options.against is not None:
        builds["other"] = options.against.resolve(strict=True)
    call = [options.experiment, "--quick", *options.overrides]
    times = measure(builds, call, options.runs)
    print(f"parley train {' '.join(call)}: seconds, median of {options.runs} runs (min to max)")
    for name, runs in times.items():
        print(f"{name:<6}" + "  ".join(_describe(part, runs) for part in Times._fields))
    ratios = {}
    if "other" in times:
        ratios = {part: _ratio(part, times) for part in Times._fields}
        told = "  ".join(f"{part} {ratio:.2f}" for part, ratio in ratios.items())
        print(f"this / other, median of pairs: {told}")
    if options.json:
        seconds = {name: [run._asdict() for run in runs] for name, runs in times.items()}
        text = json.dumps({"call": call, "seconds": seconds, "ratios": ratios}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")


def measure(builds: dict[str, Path], call: Sequence[str], num_runs: int) -> dict[str, list[Times]]:
    """The times of `num_runs` runs of each build, after one of each that warms up."""
    times: dict[str, list[Times]] = {name: [] for name in builds}
    for number in range(num_runs + 1):
        order = list(builds) if number % 2 else list(reversed(builds))
        for name in order:
            found = time_run(builds[name], call)
            if number:
                times[name].append(found)
    return times


def time_run(checkout: Path, call: Sequence[str]) -> Times:
    """Run `parley train` of one build in a folder of its own.

    Raises:
        RuntimeError: it failed, or told nothing of its training.
    """
    environment = {**os.environ, "PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        command = [sys.executable, "-m", "parley.platform.cli", "train", *call]
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--run-dir", str(Path(folder, "run"))],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        told = [(time.perf_counter() - started, line) for line in process.stdout]
        code = process.wait()
        end = time.perf_counter() - started
    lines = [at for at, line in told if not line.startswith(FOLDER_LINE)]
    rows = [at for at, line in told if ROW.search(line)]
    if code or not rows:
        raise RuntimeError(f"{checkout}: exit code {code}\n" + "".join(line for _, line in told))
    return Times(lines[0], rows[0], end)


def _describe(part: str, runs: Sequence[Times]) -> str:
    values = [getattr(run, part) for run in runs]
    return f"{part} {statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _ratio(part: str, times: dict[str, list[Times]]) -> float:
    pairs = zip(times["this"], times["other"], strict=True)
    return statistics.median(getattr(this, part) / getattr(other, part) for this, other in pairs)


if __name__ == "__main__":
    main()
