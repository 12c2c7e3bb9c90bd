"""CartPole until it is solved: parley's policies compared with RLlib's and Stable-Baselines3's PPO.

    python -m benchmarks.cartpole [--seeds N] [--only NAME ...] [--quick] [--json FILE]

Every contestant trains in a fresh process on two cores, one after the other, with the same seeds.
All are looked at in the same way (`contestants.score.Rules`): greedy evaluation on the same 32
starts every 4,096 steps, solved at a mean return of 475, given up after 150,000 steps. The peers
see the four raw floats of CartPole-v1, parley's policies tokens of 10 bins, which is harder.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where it is started by its path

from benchmarks.contestants import CONTESTANTS
from benchmarks.contestants.score import Rules
from parley.platform.runs.versions import installed_versions

ROOT = Path(__file__).resolve().parents[1]
NUM_CORES = 2
TIMEOUT_S = 3_600.0
GOALS = {"mlp": 1.0, "dhmm_gpt2": 3.0}
"""How many times the best peer's seconds a policy may take."""


@dataclass(frozen=True)
class Trial:
    """One contestant with one seed; times in seconds."""

    name: str
    seed: int
    is_solved: bool
    env_steps: int
    """Until solved, or until the end."""
    train_seconds: float
    """For these steps, without start-up and evaluation."""
    startup_seconds: float
    """From the launch of the process to the first training step."""
    aside_seconds: float
    """Evaluation, and parley's checkpoints."""
    num_threads: int
    """Of torch in the process that learns."""
    evaluations: list[dict[str, float]]
    """`env_steps`, `train_seconds` and `mean_return` of each."""

    @property
    def steps_per_s(self) -> float:
        """Environment steps per second of training."""
        return self.env_steps / self.train_seconds

    @property
    def steps_to_solve(self) -> float:
        """Infinite where it was not solved."""
        return self.env_steps if self.is_solved else math.inf

    @property
    def seconds_to_solve(self) -> float:
        """Infinite where it was not solved."""
        return self.train_seconds if self.is_solved else math.inf


def run_trial(name: str, seed: int, rules: Rules) -> Trial:
    """Train one contestant in a fresh process.

    Raises:
        RuntimeError: it failed; the message has the end of what it printed.
    """
    environment = {**CONTESTANTS[name].environment, **os.environ}
    call = [sys.executable, "-m", "benchmarks.contestants", name, "--seed", str(seed)]
    call += ["--cores", str(NUM_CORES), "--rules", json.dumps(asdict(rules))]
    call += ["--launched-s", str(time.monotonic())]
    done = subprocess.run(
        call, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise RuntimeError(f"{name}, seed {seed}, failed:\n{done.stderr[-2_000:]}")
    return Trial(name, seed, **json.loads(done.stdout.splitlines()[-1]))


def median_text(values: Sequence[float], form: str) -> str:
    """The median; a dash where it is infinite: not solved."""
    return _text(statistics.median(values), form)


def median_and_range(values: Sequence[float], form: str) -> str:
    """`median (min to max)`."""
    if len(values) == 1:
        return _text(values[0], form)
    low, high = _text(min(values), form), _text(max(values), form)
    return f"{median_text(values, form)} ({low} to {high})"


def _text(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def median_seconds(trials: Sequence[Trial]) -> dict[str, float]:
    """Name -> median seconds to solve; infinite where fewer than half were solved."""
    seconds: dict[str, list[float]] = {}
    for trial in trials:
        seconds.setdefault(trial.name, []).append(trial.seconds_to_solve)
    return {name: statistics.median(values) for name, values in seconds.items()}


def best_peer_seconds(trials: Sequence[Trial]) -> float:
    """The lowest median among the peers; infinite where none has solved it."""
    peers = [s for name, s in median_seconds(trials).items() if CONTESTANTS[name].is_peer]
    return min(peers, default=math.inf)


COLUMNS: tuple[tuple[str, int, Callable[[Sequence[Trial]], str]], ...] = (
    ("solved", 8, lambda trials: f"{sum(t.is_solved for t in trials)}/{len(trials)}"),
    (
        "env steps/s",
        25,
        lambda trials: median_and_range([t.steps_per_s for t in trials], ",.0f"),
    ),
    (
        "steps to solve",
        27,
        lambda trials: median_and_range([t.steps_to_solve for t in trials], ",.0f"),
    ),
    (
        "seconds to solve",
        24,
        lambda trials: median_and_range([t.seconds_to_solve for t in trials], ".1f"),
    ),
    ("start-up s", 12, lambda trials: median_text([t.startup_seconds for t in trials], ".1f")),
    ("aside s", 9, lambda trials: median_text([t.aside_seconds for t in trials], ".1f")),
    ("threads", 9, lambda trials: str(trials[0].num_threads)),
)
"""Heading, width and text of a contestant's trials."""


def print_table(trials: Sequence[Trial], rules: Rules) -> None:
    """A row for each contestant, then the goals."""
    print(
        f"\nCartPole-v1, median (min to max) over seeds; solved: {rules.eval_episodes} greedy "
        f"episodes of mean return >= {rules.target_return:g}, looked at every "
        f"{rules.eval_interval:,} steps up to {rules.env_step_limit:,}.\n"
        f"parley's policies see tokens, the peers raw floats. Seconds to solve are training "
        f"alone;\nstart-up (imports, Ray) and aside (evaluation, parley's checkpoints) come on "
        f"top.\n"
    )
    best = best_peer_seconds(trials)
    seconds = median_seconds(trials)
    print(f"{'':17}" + "".join(f"{h:>{w}}" for h, w, _ in COLUMNS) + f"{'x best peer':>13}")
    for name in seconds:
        own = [trial for trial in trials if trial.name == name]
        cells = "".join(f"{text(own):>{width}}" for _, width, text in COLUMNS)
        print(f"{CONTESTANTS[name].title:17}{cells}{format_ratio(seconds[name], best):>13}")
    for name, goal in GOALS.items():
        if name in seconds and math.isfinite(best):
            verdict = "reached" if seconds[name] <= goal * best else "missed"
            print(f"goal: {name} within {goal:g} x the best peer's {best:.1f} s: {verdict}")


def format_ratio(seconds: float, best: float) -> str:
    """Seconds in units of the best peer's."""
    return f"{seconds / best:.2f}" if math.isfinite(seconds) and math.isfinite(best) else "-"


def describe_machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    from importlib import metadata

    versions = installed_versions() | {"stable_baselines3": metadata.version("stable-baselines3")}
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "cores_per_contestant": NUM_CORES,
        "load_before": os.getloadavg()[0],
        "versions": versions,
    }


def _processor_name() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all trials, print the table, write the figures; 1 where a contestant failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, metavar="NAME", help="of them")
    parser.add_argument("--quick", action="store_true", help="the same path with few steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    rules = Rules(env_step_limit=2_048, eval_interval=2_048) if options.quick else Rules()
    machine = describe_machine()
    print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load_before']:.1f}")
    trials: list[Trial] = []
    failures = 0
    for seed in range(1 if options.quick else options.seeds):
        for name in options.only or CONTESTANTS:
            try:
                trial = run_trial(name, seed, rules)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(error, file=sys.stderr, flush=True)
                failures += 1
                continue
            trials.append(trial)
            outcome = "solved" if trial.is_solved else "not solved"
            print(
                f"{CONTESTANTS[name].title}, seed {seed}: {outcome} after {trial.env_steps:,} "
                f"steps, {trial.train_seconds:.1f} s",
                flush=True,
            )
    print_table(trials, rules)
    if options.json:
        figures = {"machine": machine, "rules": asdict(rules), "trials": list(map(asdict, trials))}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
