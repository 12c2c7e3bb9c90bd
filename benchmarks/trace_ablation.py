"""What the belief filter is good for: DHMM-GPT2 with and without it, on all languages.

    python -m benchmarks.trace_ablation --out FOLDER [--seeds N] [--only ROW ...] [--quick]

Every run is an ordinary `parley train`, with the settings of its experiment. The plain GPT-2 takes
as many gradient steps on the same batches; its feed-forward layers are widened until it has as many
parameters. Where the experiment does without positions, which a filter can, the plain one gets
rotary ones. Runs that are finished in FOLDER are not run again, and one that was stopped goes on;
the table is written to FOLDER/table.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parley.platform.cli import main as parley
from parley.platform.settings.loading import load_experiment
from parley.platform.trace.settings import TraceConfig
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.building import build_policy

POLICIES = ("dhmm_gpt2", "gpt2")


@dataclass(frozen=True)
class Row:
    """One language of the table."""

    name: str
    experiment: str
    overrides: tuple[str, ...] = ()


ROWS = {
    row.name: row
    for row in (
        Row("addition_3", "trace/addition", ("min_size=3", "max_size=3", "evaluation.sizes=[3]")),
        Row("addition", "trace/addition"),
        Row("sorting_5", "trace/sorting", ("min_size=5", "max_size=5", "evaluation.sizes=[5]")),
        Row("sorting", "trace/sorting"),
        Row("parity", "trace/tracking", ("language=parity",)),
        Row("counter", "trace/tracking", ("language=counter",)),
        Row("shell_game", "trace/tracking"),
        Row("markov", "trace/markov"),
        Row("hidden_markov", "trace/hidden_markov"),
        Row("cartpole", "trace/cartpole"),
    )
}


@dataclass(frozen=True)
class Outcome:
    """What one run has reached."""

    row: str
    policy: str
    seed: int
    num_parameters: int
    metrics: dict[str, Any]

    def figure(self, name: str, size: int) -> float | None:
        """`<name>_by_length` at one size."""
        value = (self.metrics.get(f"{name}_by_length") or {}).get(str(size))
        return None if value is None else float(value)


def overrides_of(row: Row, policy: str, seed: int) -> list[str]:
    """The settings of one run, parameters made equal."""
    overrides = [*row.overrides, f"policy={policy}", f"seed={seed}"]
    if policy == "dhmm_gpt2":
        return overrides
    config = load(row)
    if config.model.positions == "none":
        overrides.append("model.positions=rotary")
    return [*overrides, f"model.ff_hidden={matching_width(config)}"]


def load(row: Row) -> TraceConfig:
    """The settings of a row's experiment."""
    config = load_experiment(row.experiment, row.overrides)
    assert isinstance(config, TraceConfig)
    return config


def matching_width(config: TraceConfig) -> int:
    """Feed-forward width with which the plain GPT-2 is nearest to DHMM-GPT2 in parameters."""
    with_filter = count_parameters(config, "dhmm_gpt2", config.model.ff_hidden)
    without = count_parameters(config, "gpt2", config.model.ff_hidden)
    per_unit = count_parameters(config, "gpt2", config.model.ff_hidden + 1) - without
    return config.model.ff_hidden + round((with_filter - without) / per_unit)


def count_parameters(config: TraceConfig, policy: str, ff_hidden: int) -> int:
    """Parameters of the language model that `policy` builds."""
    vocab_size = config.language.build().vocab_size
    settings = {**config.model.model_dump(), "vocab_size": vocab_size, "ff_hidden": ff_hidden}
    model = build_policy(policy, settings)
    assert isinstance(model, LanguageActorCritic)
    return sum(parameter.numel() for parameter in model.language_model.parameters())


def run(row: Row, policy: str, seed: int, out: Path, quick: bool) -> Outcome:
    """Train and measure, where that was not done yet.

    Raises:
        RuntimeError: `parley train` has failed; it has said why.
    """
    folder = out / f"{row.name}-{policy}-{seed}"
    if _status(folder) != "done":
        flags = ["--quick"] if quick else []
        if folder.exists():
            command = ["train", row.experiment, "--run-dir", str(folder), "--resume"]
        else:
            overrides = overrides_of(row, policy, seed)
            command = ["train", row.experiment, *overrides, *flags, "--run-dir", str(folder)]
        print(f"== {' '.join(command)}", flush=True)
        if parley(command) != 0:
            raise RuntimeError(f"parley {' '.join(command)} has failed")
    config = load_experiment(folder / "config.toml")
    assert isinstance(config, TraceConfig)
    result = json.loads((folder / "result.json").read_text())
    num_parameters = count_parameters(config, policy, config.model.ff_hidden)
    return Outcome(row.name, policy, seed, num_parameters, result["metrics"])


def _status(folder: Path) -> str:
    try:
        return str(json.loads((folder / "result.json").read_text())["status"])
    except FileNotFoundError:
        return ""


def table(outcomes: Sequence[Outcome]) -> str:
    """Seeds side by side: exact answers, or nats above the optimum, by size."""
    lines = [
        "| language | figure | size | DHMM-GPT2 | GPT-2 | parameters |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(outcome.row for outcome in outcomes):
        of_row = [outcome for outcome in outcomes if outcome.row == name]
        counts = " / ".join(
            f"{next((o.num_parameters for o in of_row if o.policy == policy), 0):,}"
            for policy in POLICIES
        )
        for figure, size in _figures(of_row[0]):
            cells = [_cell(of_row, policy, figure, size) for policy in POLICIES]
            lines.append(f"| {name} | {figure} | {size} | {' | '.join(cells)} | {counts} |")
    return "\n".join(lines)


def _figures(outcome: Outcome) -> Iterator[tuple[str, int]]:
    """What is shown of a language: exact answers where there are any, else nats."""
    exact = outcome.metrics.get("exact_match_by_length")
    name = "exact_match" if exact else "nats_over_optimal"
    for size in outcome.metrics[f"{name}_by_length"]:
        yield name, int(size)


def _cell(outcomes: Sequence[Outcome], policy: str, figure: str, size: int) -> str:
    """Mean over the seeds, then each seed."""
    values = [o.figure(figure, size) for o in outcomes if o.policy == policy]
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{np.mean(known):.4f} ({', '.join(f'{value:.4f}' for value in known)})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--quick", action="store_true", help="the same path at a tenth of the work")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    outcomes = [
        run(ROWS[name], policy, seed, chosen.out, chosen.quick)
        for seed in range(chosen.seeds)
        for name in chosen.only
        for policy in chosen.policies
    ]
    text = table(outcomes)
    print(text)
    (chosen.out / "table.md").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
