"""What being watched costs a run: iterations with metrics and TensorBoard, and without.

    python -m benchmarks.monitoring [--quick] [--json FILE]

One run of `cartpole/ppo` with the small perceptron, whose iterations are the shortest that parley
has, on a local Ray. Its iterations are watched and unwatched by turns, in pairs whose order
changes, so that whatever else the machine does meets both alike. Watched, each row is shown to
Ray's metrics and written to TensorBoard, and both runners show their pace and the age of their
weights. Unwatched, nobody listens. The first pairs are left out: libraries are loaded there.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

NUM_PAIRS, QUICK_PAIRS, WARM_UP_PAIRS = 200, 6, 4
SETTINGS = (
    "policy=mlp",
    "rollouts.num_env_runners=2",
    "evaluation.interval_env_steps=0",
    "checkpoint.interval_iterations=1000000",
    "stop.max_env_steps=1000000000",
    "stop.target_return=none",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few iterations")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    figures = measure(QUICK_PAIRS if options.quick else NUM_PAIRS)
    print(
        f"iterations, seconds (median of {figures['pairs']}): watched "
        f"{figures['watched_s']:.4f}, unwatched {figures['unwatched_s']:.4f}; ratio of pairs, "
        f"median {figures['ratio']:.3f}, quartiles {figures['quartiles'][0]:.3f} to "
        f"{figures['quartiles'][1]:.3f}; a row takes {figures['row_ms']:.2f} ms"
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(num_pairs: int) -> dict[str, Any]:
    """The figures of so many pairs of iterations, after those that warm up."""
    import ray

    from parley.platform.control.ppo_run import PPORun
    from parley.platform.control.settings import CartPolePPOConfig
    from parley.platform.monitoring.run_monitor import run_monitored
    from parley.platform.runs.run_folder import RunFolder
    from parley.platform.settings.loading import load_experiment
    from parley.platform.terminal.quiet import quiet_libraries, quiet_rllib

    quiet_libraries()
    quiet_rllib()
    config = load_experiment("cartpole/ppo", SETTINGS)
    assert isinstance(config, CartPolePPOConfig)
    ray.init(num_cpus=4, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="parley-") as folder,
            RunFolder.create(config, Path(folder) / "run") as run_folder,
        ):
            run = PPORun(config, run_folder)
            times: dict[bool, list[float]] = {True: [], False: []}
            for pair in range(WARM_UP_PAIRS + num_pairs):
                for is_watched in (True, False) if pair % 2 else (False, True):
                    # Trackers are opened and closed outside of what is timed, as by a run.
                    watching = run_monitored(config, run_folder) if is_watched else nullcontext()
                    with watching:
                        if is_watched:
                            run.run_folder.append_metrics({"iteration": 0})
                        started = time.perf_counter()
                        run.iterate()
                        times[is_watched].append(time.perf_counter() - started)
            row_ms = 1e3 * _time_rows(config, run_folder)
            run.close()
    finally:
        ray.shutdown()
    watched, unwatched = (times[is_watched][WARM_UP_PAIRS:] for is_watched in (True, False))
    ratios = [first / second for first, second in zip(watched, unwatched, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "pairs": num_pairs,
        "watched_s": statistics.median(watched),
        "unwatched_s": statistics.median(unwatched),
        "ratio": statistics.median(ratios),
        "quartiles": [low, high],
        "row_ms": row_ms,
    }


def _time_rows(config: Any, run_folder: Any, num_rows: int = 200) -> float:
    """Seconds that telling one row to all listeners takes, in the mean."""
    from parley.platform.monitoring.run_monitor import run_monitored
    from parley.platform.runs.announcements import RowAppended, announce

    row = run_folder.read_metrics()[-1]
    with run_monitored(config, run_folder):
        announce(RowAppended(run_folder.path, row))
        started = time.perf_counter()
        for number in range(num_rows):
            announce(RowAppended(run_folder.path, {**row, "iteration": 1_000_000 + number}))
        return (time.perf_counter() - started) / num_rows


if __name__ == "__main__":
    main()
