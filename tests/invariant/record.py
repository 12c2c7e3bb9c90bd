"""Write down what short runs with fixed seeds give, so that a refactor can show equal figures.

    python -m tests.invariant.record BEFORE.json --checkout OLD --keep RUNS
    python -m tests.invariant.record AFTER.json --checkout NEW --reports RUNS
    python -m tests.invariant.compare BEFORE.json AFTER.json

Of each case: its final figures, every line of its `metrics.jsonl` and the hash of the tensors of
its newest checkpoint. Seconds, rates, sizes and places are left out. With `--reports`, also the
bytes of a report of each run folder below RUNS, which both checkouts must be given alike.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.invariant.cases import CASES, Case

TIMED = ("seconds", "_s", "ms_per_row", "time", "bytes", "utilization", "load", "outside_forward")
"""Endings of the keys that differ from run to run."""
PLACED = {"checkpoint", "versions", "run_dir", "path", "node", "place", "places", "machine", "host"}
"""Keys that name places and versions."""
KEYS_OF_RESULT = ("status", "experiment", "metrics")


def main() -> int:
    """Record all cases, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--keep", type=Path, help="folder in which the run folders stay")
    parser.add_argument("--reports", type=Path, help="run folders to write reports of")
    parser.add_argument("--cases", nargs="*", default=[])
    arguments = parser.parse_args()
    folder = (arguments.keep or Path(tempfile.mkdtemp(prefix="parley-figures-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {}
    try:
        for case in CASES:
            if not arguments.cases or case.name in arguments.cases:
                print(f"{case.name} …", flush=True)
                record[case.name] = run_case(case, folder, arguments.checkout.absolute())
        if arguments.reports:
            record["reports"] = report_hashes(arguments.reports, arguments.checkout.absolute())
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    arguments.out.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return 0


def parley(arguments: list[str], checkout: Path, cwd: Path) -> None:
    """Run one command of the checkout's parley; what it says goes into `log.txt`.

    Raises:
        SystemExit: it failed; the end of what it said is shown.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "parley.platform.cli", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    with (cwd / "log.txt").open("a") as log:
        log.write(f"$ {' '.join(arguments)}\n{done.stdout}{done.stderr}\n")
    if done.returncode:
        sys.exit(f"parley {' '.join(arguments)} gave {done.returncode}:\n{done.stderr[-3_000:]}")


def run_case(case: Case, folder: Path, checkout: Path) -> dict[str, Any]:
    """What a case gives: `result`, `metrics` (a list, one entry an iteration) and `tensors`."""
    run = folder / case.name
    places = {other.name: str(folder / other.name) for other in CASES}
    settings = [setting.format_map(_Places(places)) for setting in case.settings]
    parley([case.command, case.experiment, *settings, "--run-dir", str(run)], checkout, folder)
    return figures_of(run)


class _Places(dict[str, str]):
    """Leaves braces alone that name no case."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def figures_of(run: Path) -> dict[str, Any]:
    """What is compared of a run folder."""
    result = json.loads((run / "result.json").read_text())
    lines = (
        (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
    )
    kept = {key: result[key] for key in KEYS_OF_RESULT if key in result}
    return {
        "result": untimed(kept),
        "metrics": [untimed(json.loads(line)) for line in lines],
        "tensors": tensor_hash(run),
    }


def untimed(value: Any) -> Any:
    """A JSON value without what differs between equal runs."""
    if isinstance(value, Mapping):
        return {
            key: untimed(entry)
            for key, entry in value.items()
            if key not in PLACED and not key.endswith(TIMED)
        }
    if isinstance(value, list):
        rows = [untimed(entry) for entry in value]
        return sorted(rows, key=_place_in_sweep) if _are_of_trials(rows) else rows
    return value


def _are_of_trials(rows: list[Any]) -> bool:
    """Whether rows came from trials side by side, in whatever order these reported."""
    return bool(rows) and all(isinstance(row, Mapping) and "trial" in row for row in rows)


def _place_in_sweep(row: dict[str, Any]) -> tuple[str, int]:
    row.pop("iteration", None)  # counts the rows of all trials
    return str(row["trial"]), int(row.get("evaluation", 0))


def tensor_hash(run: Path) -> str:
    """The hash of the names and bytes of all tensors of the newest checkpoints below `run`."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for pointer in sorted(run.rglob("last.json")):
        checkpoint = pointer.parent / json.loads(pointer.read_text())["checkpoint"]
        for file in sorted(checkpoint.rglob("*.safetensors")):
            digest.update(file.relative_to(checkpoint).as_posix().encode())
            for name, tensor in sorted(load_file(file).items()):
                digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
                digest.update(tensor.tobytes())
    return digest.hexdigest()


def report_hashes(runs: Path, checkout: Path) -> dict[str, str]:
    """The hash of a report of each run folder, written in a copy that lies at the same place."""
    hashes = {}
    for run in sorted(path.parent for path in runs.glob("*/result.json")):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / run.name
            shutil.copytree(run, copy)
            parley(["report", run.name], checkout, Path(folder))
            hashes[run.name] = hashlib.sha256((copy / "report.html").read_bytes()).hexdigest()
    return hashes


if __name__ == "__main__":
    sys.exit(main())
