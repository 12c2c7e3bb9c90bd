"""Tokens per second of learning and of writing traces: parley, and the same GPT-2 in transformers.

    python -m benchmarks.trace [--quick] [--prompts N] [--repetitions N] [--json FILE]

Training: the same traces once each, on the same weights, in as many gradient steps of AdamW, by
parley's learner and by transformers' `Trainer`, whose batches hold as many traces as parley's do on
average (the last ones may make a step more or less); once in random order, once grouped by length.
What counts are the traces' own tokens: padding is not work done. Making the traces is part of
parley's time, and not of the Trainer's.

Writing: the same prompts, those of one size together, greedily to the length of the true trace, by
`continue_traces` and by `model.generate` with its cache. Fresh weights end traces at random, so the
end token is silenced; all write equally much.

One thread. Contestants take turns within a repetition; medians are shown, and ratios are taken
within a repetition. Times are processor seconds, so that a busy machine treats all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers.utils.logging

from benchmarks.contestants.traces import (
    Case,
    Work,
    train_parley,
    train_with_trainer,
    write_with_generate,
    write_with_parley,
)
from parley.envs.trace.languages import build_language
from parley.platform.terminal.quiet import quiet_libraries

GPT2, DHMM = "parley, GPT-2", "parley, DHMM-GPT2"
RANDOM, GROUPED, GENERATE = "Trainer", "Trainer, by length", "generate"
TRAINING, WRITING = "training", "writing"
GOALS = {TRAINING: (GROUPED, 1.5), WRITING: (GENERATE, 3.0)}
"""The peer and how many times as fast parley's GPT-2 should be."""
LEAST_AGREEMENT = 0.9
"""Share of traces that both must write alike; rounding may part them where two tokens tie."""

STEPS_APART = 0.1
"""By how much gradient steps may differ: whole traces cannot always be dealt out in as many."""

WIDTHS = {"embed_size": 64, "layers": 2, "heads": 4, "ff_hidden": 256}
QUICK_WIDTHS = {"embed_size": 16, "layers": 1, "heads": 2, "ff_hidden": 32}
Contestants = dict[str, Callable[[Case, Path], Work]]
TASKS: dict[str, Contestants] = {
    TRAINING: {
        RANDOM: lambda case, folder: train_with_trainer(case, folder, is_grouped=False),
        GROUPED: lambda case, folder: train_with_trainer(case, folder, is_grouped=True),
        GPT2: lambda case, folder: train_parley(case, "gpt2"),
        DHMM: lambda case, folder: train_parley(case, "dhmm_gpt2"),
    },
    WRITING: {
        GENERATE: lambda case, folder: write_with_generate(case),
        GPT2: lambda case, folder: write_with_parley(case, "gpt2"),
        DHMM: lambda case, folder: write_with_parley(case, "dhmm_gpt2"),
    },
}


def make_cases(quick: bool, num_prompts: int = 128) -> list[Case]:
    """What is learned and written, so many traces of each size together."""
    addition, sorting = build_language("addition", {}), build_language("sorting", {})
    if quick:
        return [
            Case("addition, 2 digits", addition, [2], 256, 8, 8, QUICK_WIDTHS),
            Case("sorting, 2 to 4 elements", sorting, [2, 3, 4], 256, 8, 8, QUICK_WIDTHS),
        ]
    return [
        Case("addition, 1 to 6 digits", addition, range(1, 7), 4_096, 32, num_prompts, WIDTHS),
        Case("sorting, 2 to 8 elements", sorting, range(2, 9), 4_096, 32, num_prompts, WIDTHS),
    ]


@dataclass
class Figures:
    """All repetitions of one contestant at one task."""

    case: str
    task: str
    contestant: str
    works: list[Work] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        """Median of the repetitions."""
        return statistics.median(work.num_tokens / work.seconds for work in self.works)

    @property
    def padding(self) -> float:
        """Share of the places computed in training."""
        work = self.works[0]
        return 1.0 - work.num_tokens / work.positions

    def ratio(self, other: Figures) -> float:
        """How many times as fast as the other, the median of the repetitions."""
        return statistics.median(
            theirs.seconds / own.seconds
            for own, theirs in zip(self.works, other.works, strict=True)
        )

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "case": self.case,
            "task": self.task,
            "contestant": self.contestant,
            "tokens_per_s": self.tokens_per_s,
            "num_tokens": self.works[0].num_tokens,
            "num_steps": self.works[0].num_steps,
            "positions": self.works[0].positions,
            "seconds": [work.seconds for work in self.works],
        }


def measure(case: Case, task: str, repetitions: int) -> dict[str, Figures]:
    """All contestants in turn, again and again.

    Raises:
        RuntimeError: they did not do the same work.
    """
    figures = {name: Figures(case.title, task, name) for name in TASKS[task]}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repetitions):
            for name, contestant in TASKS[task].items():
                figures[name].works.append(contestant(case, Path(folder)))
            works = {name: row.works[-1] for name, row in figures.items()}
            _require_equal_work(works)
            for work in works.values():
                work.written.clear()
    return figures


def _require_equal_work(works: dict[str, Work]) -> None:
    amounts = {work.num_tokens for work in works.values()}
    steps = [work.num_steps for work in works.values()]
    if len(amounts) != 1 or max(steps) - min(steps) > STEPS_APART * max(steps):
        raise RuntimeError(f"unequal work: {amounts} tokens in {steps} gradient steps")
    if GENERATE in works:
        agreement = share_alike(works[GENERATE].written, works[GPT2].written)
        if agreement < LEAST_AGREEMENT:
            raise RuntimeError(f"only {agreement:.0%} of the traces were written alike")


def share_alike(written: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """Share of rows of all sizes [N, T] that are equal."""
    alike = torch.cat([(a == b).all(-1) for a, b in zip(written, other, strict=True)])
    return float(alike.float().mean())


def print_table(case: Case, task: str, figures: dict[str, Figures]) -> None:
    """One row for each contestant, and the goal."""
    first = next(iter(figures.values())).works[0]
    if task == TRAINING:
        print(
            f"\n{case.title}, training: {first.num_tokens:,} tokens of traces in "
            f"{first.num_steps} gradient steps"
        )
        print(f"{'':<22}{'tokens/s':>10}{'/ random':>11}{'/ by length':>13}{'padding':>10}")
    else:
        print(
            f"\n{case.title}, writing: {first.num_tokens:,} tokens, {case.num_prompts} traces of "
            "each size at a time"
        )
        print(f"{'':<22}{'tokens/s':>10}{'/ generate':>12}")
    peers = [row for name, row in figures.items() if name in (RANDOM, GROUPED, GENERATE)]
    for name, row in figures.items():
        ratios = "".join(f"{row.ratio(peer):>11.2f}x" for peer in peers)
        padding = f"{row.padding:>11.0%}" if task == TRAINING else ""
        print(f"{name:<22}{row.tokens_per_s:>10,.0f}{ratios}{padding}")
    peer, goal = GOALS[task]
    found = figures[GPT2].ratio(figures[peer])
    verdict = "reached" if found >= goal else "missed"
    print(f"  {GPT2} / {peer}: {found:.2f}, goal {goal:g}: {verdict}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="the same path with a tiny model")
    parser.add_argument(
        "--prompts", type=int, default=128, metavar="N", help="traces that are written together"
    )
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    quiet_libraries()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    if options.quick:
        options.repetitions = 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, one thread")
    measured: list[Figures] = []
    try:
        for case in make_cases(options.quick, options.prompts):
            for task in TASKS:
                figures = measure(case, task, options.repetitions)
                print_table(case, task, figures)
                measured += figures.values()
    finally:
        torch.set_num_threads(threads)
    if options.json:
        rows = [row.to_json() for row in measured]
        load = os.getloadavg()[0]
        options.json.write_text(json.dumps({"load": load, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
