"""Tokens per second of dialogues between two language models, held in four ways.

    python -m benchmarks.dialogue_rollouts [--model tiny|124M ...] [--quick] [--json FILE]

(a) one dialogue at a time by `model.generate`, (b) `model.generate` over a left-padded batch, (c)
parley in one process, (d) parley in two Ray actors, each with as many dialogues as (c). Same model
in both seats, same openers, same rules, top-k 50, one torch thread in every process. (a) and (b)
encode the history anew in every turn, as `generate` does when it is handed token ids; parley also
scores the distorter's replies under the competitor. In a model's first table the end token cannot
be drawn, so that all draw equally much; in the second, replies end as they like. The contestants
take turns within each repetition, so that a noisy machine treats them alike; medians are shown, and
ratios are taken within a repetition.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from parley.platform.terminal.quiet import quiet_libraries

quiet_libraries()

import numpy as np  # noqa: E402
import ray  # noqa: E402
import torch  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel  # noqa: E402

from benchmarks.contestants.dialogue import (  # noqa: E402
    Outcome,
    ParleyPlayer,
    ParleyRunners,
    Work,
    generate_alone,
    generate_together,
)
from parley.platform.language.embedded import EMBEDDED_NAME, embedded_model  # noqa: E402
from parley.policies.dialogue.loading import load_language_model  # noqa: E402

NUM_RUNNERS = 2
ALONE, TOGETHER, ONE, TWO = "generate", "generate, batched", "parley", "parley, 2 actors"
GOALS = {"one_over_alone": 10.0, "one_over_together": 2.0, "two_over_one": 1.6}
GOAL_OUTSIDE = 0.25
OPENERS = (
    "Hello", "Hi there!", "How are you?", "What are you doing today?", "Good morning.",
    "Did you see the game last night?", "Do you like music?", "I am so tired.",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How much a model does."""

    title: str
    num_rows: int
    num_turns: int
    reply_tokens: int
    num_alone: int
    """Dialogues that (a) holds; its speed does not depend on how many."""
    repetitions: int
    has_natural_ends: bool = True
    """Whether to measure replies that end as they like, too; random weights hardly ever end."""
    is_bounded_by_weights: bool = False
    """Whether weights are most of what a step reads and multiplies."""


PLANS = {
    "tiny": Plan(EMBEDDED_NAME, 32, 6, 20, num_alone=4, repetitions=9),
    "124M": Plan(
        "random GPT-2, 124 M",
        32,
        6,
        20,
        num_alone=1,
        repetitions=3,
        has_natural_ends=False,
        is_bounded_by_weights=True,
    ),
}
QUICK_PLAN = Plan(
    "random GPT-2, small", 4, 2, 4, num_alone=1, repetitions=1, is_bounded_by_weights=True
)


@dataclass(frozen=True)
class Result:
    """One contestant at one kind of work; a list holds one figure for each repetition."""

    model: str
    has_fixed_length: bool
    contestant: str
    tokens_per_s: list[float]
    tokens_per_processor_s: list[float]
    outside_share: list[float]
    """Of the time, what is not in forward passes; for parley."""


def make_random(plan: Plan, **sizes: int) -> tuple[PreTrainedModel, Work]:
    """A GPT-2 with fresh weights and openers of random ids."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()  # type: ignore[arg-type]
    vocab_size, end_token = model.config.vocab_size, model.config.eos_token_id
    assert isinstance(end_token, int)
    rng = np.random.default_rng(0)
    openers = [rng.integers(1, vocab_size - 1, n).astype(np.int32) for n in (2, 3, 4, 6)]
    return model, _make_work(plan, model, end_token, openers)


def make_subject(name: str, quick: bool) -> tuple[Plan, PreTrainedModel, Work]:
    """The model of a name and its work."""
    if quick:
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 300}
        return QUICK_PLAN, *make_random(QUICK_PLAN, **sizes, bos_token_id=0, eos_token_id=0)
    plan = PLANS[name]
    if name == "124M":
        return plan, *make_random(plan)
    loaded = load_language_model(embedded_model())
    openers = [np.array(loaded.tokenizer.encode(text), np.int32) for text in OPENERS]
    return plan, loaded.model, _make_work(plan, loaded.model, loaded.end_token, openers)


def _make_work(plan: Plan, model: PreTrainedModel, end_token: int, openers: Sequence[Any]) -> Work:
    return Work(
        num_rows=plan.num_rows,
        num_turns=plan.num_turns,
        reply_tokens=plan.reply_tokens,
        has_fixed_length=True,
        top_k=50,
        end_token=end_token,
        vocab_size=model.config.vocab_size,
        context=model.config.n_positions,
        openers=openers,
    )


def measure(plan: Plan, model: PreTrainedModel, work: Work) -> list[Result]:
    """All contestants in turn, again and again, once before the clock counts."""
    player, runners = ParleyPlayer(model, work), ParleyRunners(model, work, NUM_RUNNERS)
    alone, together = range(plan.num_alone), range(plan.num_rows)
    contestants: dict[str, Callable[[], Outcome]] = {
        ALONE: lambda: generate_alone(model, work, alone),
        TOGETHER: lambda: generate_together(model, work, together),
        ONE: lambda: player.play(together),
        TWO: lambda: runners.play(together),
    }
    warm_up = replace(work, num_turns=1)
    generate_together(model, warm_up, together)
    player.play(together)
    runners.play(together)
    results = {
        name: Result(plan.title, work.has_fixed_length, name, [], [], []) for name in contestants
    }
    for _ in range(plan.repetitions):
        for name, hold in contestants.items():
            outcome = hold()
            results[name].tokens_per_s.append(outcome.num_tokens / outcome.seconds)
            results[name].tokens_per_processor_s.append(outcome.num_tokens / outcome.processor_s)
            if outcome.forward_s:
                busy = outcome.seconds * (NUM_RUNNERS if name == TWO else 1)
                results[name].outside_share.append(1 - outcome.forward_s / busy)
    runners.stop()
    return list(results.values())


def measure_bounds(model: PreTrainedModel, num_rows: int) -> dict[str, float]:
    """How fast decoding could be at most on one core, in tokens per second.

    A step over `num_rows` dialogues reads every weight once. Every token is multiplied with every
    weight twice: by the model that draws it and by the one that listens. Keys and values, norms and
    the draw come on top and are left out.
    """
    weights = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    tables = {model.config.n_positions}  # looked up, not multiplied
    sizes = [weight.numel() for weight in weights if weight.shape[0] not in tables]
    num_weights = sum(sizes)
    flat = torch.zeros(num_weights)
    square = torch.randn(1_024, 1_024)
    with torch.inference_mode():
        read_s = _fastest(lambda: flat.sum())
        square_s = _fastest(lambda: square @ square)
    bytes_per_s = 4 * num_weights / read_s
    flops_per_s = 2 * 1_024**3 / square_s
    return {
        "weights": num_weights,
        "gigabytes_per_s": bytes_per_s / 1e9,
        "gigaflops_per_s": flops_per_s / 1e9,
        "bandwidth_bound": num_rows / (4 * num_weights / bytes_per_s),
        "arithmetic_bound": flops_per_s / (2 * 2 * num_weights),
    }


def _fastest(call: Callable[[], Any], repetitions: int = 7) -> float:
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def ratios(results: Sequence[Result], of_processor: bool = False) -> dict[str, float]:
    """Medians over the repetitions of the three ratios that have goals.

    By seconds, or by seconds of processor time.
    """
    speeds = {
        r.contestant: r.tokens_per_processor_s if of_processor else r.tokens_per_s for r in results
    }
    pairs = {
        "one_over_alone": (ONE, ALONE),
        "one_over_together": (ONE, TOGETHER),
        "two_over_one": (TWO, ONE),
    }
    return {
        name: statistics.median(a / b for a, b in zip(speeds[x], speeds[y], strict=True))
        for name, (x, y) in pairs.items()
    }


def print_results(plan: Plan, results: Sequence[Result]) -> None:
    """One row for fixed lengths or natural ends."""
    fixed = results[0].has_fixed_length
    found, of_processor = ratios(results), ratios(results, of_processor=True)
    outside = {r.contestant: statistics.median(r.outside_share) for r in results if r.outside_share}
    length = f"{plan.reply_tokens} tokens each" if fixed else f"up to {plan.reply_tokens} tokens"
    print(
        f"\n{plan.title}: {plan.num_rows} dialogues, {plan.num_turns} replies of {length}, "
        f"{plan.repetitions} repetitions"
    )
    print(f"  {'tokens per':18}{'second':>9}  (lowest to highest)  processor second")
    for result in results:
        low, high = min(result.tokens_per_s), max(result.tokens_per_s)
        median = statistics.median(result.tokens_per_s)
        of_one = statistics.median(result.tokens_per_processor_s)
        extent = f"({low:,.0f} to {high:,.0f})"
        print(f"  {result.contestant:18}{median:>9,.0f}  {extent:19}{of_one:>18,.0f}")
    labels = (f"{ONE} / {ALONE}", f"{ONE} / {TOGETHER}", f"{TWO} / {ONE}")
    for label, (name, ratio) in zip(labels, found.items(), strict=True):
        verdict = "reached" if ratio >= GOALS[name] else "missed"
        aside = "" if name == "two_over_one" else f"; by processor time {of_processor[name]:.2f}"
        print(f"  {label:34}{ratio:>6.2f}   goal {GOALS[name]:g}: {verdict}{aside}")
    share = outside[ONE]
    verdict = "reached" if share < GOAL_OUTSIDE else "missed"
    print(f"  {'outside forward passes':34}{share:>6.0%}   goal < {GOAL_OUTSIDE:.0%}: {verdict}")


def print_bounds(bounds: dict[str, float], speed: float) -> None:
    """How far parley in one process is from what one core allows."""
    print(
        f"  one core: reads {bounds['gigabytes_per_s']:.1f} GB/s, multiplies at "
        f"{bounds['gigaflops_per_s']:.0f} GFLOP/s; {bounds['weights'] / 1e6:.1f} M weights\n"
        f"  bound by memory {bounds['bandwidth_bound']:,.0f}, by arithmetic "
        f"{bounds['arithmetic_bound']:,.0f} tokens/s: parley reaches "
        f"{speed / bounds['bandwidth_bound']:.0%} and {speed / bounds['arithmetic_bound']:.0%}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", nargs="+", choices=PLANS, default=list(PLANS), help="of them")
    parser.add_argument("--quick", action="store_true", help="the same path with a small model")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    figures: list[dict[str, Any]] = []
    with _one_thread(), _ray():
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, one torch thread a process")
        for name in ["quick"] if options.quick else options.model:
            plan, model, work = make_subject(name, options.quick)
            for has_fixed_length in (True, False) if plan.has_natural_ends else (True,):
                results = measure(plan, model, replace(work, has_fixed_length=has_fixed_length))
                print_results(plan, results)
                figures.append({"plan": asdict(plan), "results": [asdict(r) for r in results]})
                figures[-1] |= {"ratios": ratios(results), "load": os.getloadavg()[0]}
                if has_fixed_length and plan.is_bounded_by_weights:
                    bounds = measure_bounds(model, plan.num_rows)
                    speed = {r.contestant: statistics.median(r.tokens_per_s) for r in results}[ONE]
                    print_bounds(bounds, speed)
                    figures[-1] |= {"bounds": bounds}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _ray() -> Iterator[None]:
    was_running = ray.is_initialized()
    if not was_running:
        ray.init(num_cpus=NUM_RUNNERS, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        if not was_running:
            ray.shutdown()


if __name__ == "__main__":
    main()
