"""What the belief filter costs: the scan alone, in a training step, in decoding.

    python -m benchmarks.dhmm_scan [--quick]

One thread. Competitors take turns within each repetition, and medians are shown, so that a noisy
machine treats them alike.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from parley.policies.dhmm_gpt2 import BeliefFilter, DHMMGPT2Config, DHMMGPT2ForCausalLM
from parley.policies.dhmm_gpt2.attention import CausalAttention
from parley.policies.dhmm_gpt2.scan import filter_step, scan_beliefs

BATCH, STATES = 8, 8


def measure(runs: dict[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Milliseconds of every repetition of every run; the runs take turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repetitions):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def loop_over_unbind(initial: Tensor, operators: Tensor) -> Tensor:
    """Step by step; the gradient is autograd's."""
    beliefs, belief = [], initial
    for operator in operators.unbind(1):
        belief, _ = filter_step(belief, operator)
        beliefs.append(belief)
    return torch.stack(beliefs, dim=1)


def loop_over_slices(initial: Tensor, operators: Tensor) -> Tensor:
    """The same by indexing; each slice's gradient is as long as the sequence."""
    beliefs, belief = [], initial
    for t in range(operators.shape[1]):
        belief, _ = filter_step(belief, operators[:, t])
        beliefs.append(belief)
    return torch.stack(beliefs, dim=1)


def compare_scans(lengths: Sequence[int], repetitions: Sequence[int]) -> None:
    """Forward and backward of the parallel scan and of both loops."""
    print(f"Scan, forward + backward, batch {BATCH}, {STATES} states, median ms")
    print(f"{'T':>6}{'scan':>9}{'unbind':>9}{'slices':>10}{'unbind/scan':>13}{'per doubling':>14}")
    previous: tuple[int, float] | None = None
    for steps, repeats in zip(lengths, repetitions, strict=True):
        logits = 3 * torch.randn(BATCH, steps, STATES, STATES)
        operators = torch.softmax(logits, dim=-1).requires_grad_()
        initial = torch.full((BATCH, STATES), 1 / STATES)
        weight = torch.randn(BATCH, steps, STATES)

        def run(forward: Callable[[Tensor, Tensor], Tensor]) -> None:
            torch.autograd.grad(forward(initial, operators), operators, weight)  # noqa: B023

        times = measure(
            {
                "scan": lambda: run(scan_beliefs),
                "unbind": lambda: run(loop_over_unbind),
                "slices": lambda: run(loop_over_slices),
            },
            repeats,
        )
        scan, unbind, slices = (statistics.median(times[name]) for name in times)
        growth = ""
        if previous is not None:
            doublings = math.log2(steps / previous[0])
            growth = f"x{(scan / previous[1]) ** (1 / doublings):.2f}"
        previous = (steps, scan)
        ratio = f"x{unbind / scan:.1f}"
        print(f"{steps:>6}{scan:>9.2f}{unbind:>9.2f}{slices:>10.2f}{ratio:>13}{growth:>14}")


def make_model(max_len: int, heads_per_kind: int, filter_layers: tuple[int, ...]) -> nn.Module:
    """64 wide, 2 layers, 4 attention heads, CartPole's vocabulary."""
    torch.manual_seed(0)
    return DHMMGPT2ForCausalLM(
        DHMMGPT2Config(
            vocab_size=44,
            embed_size=64,
            layers=2,
            heads=4,
            max_len=max_len,
            num_states=STATES,
            counter_heads=heads_per_kind,
            filter_heads=heads_per_kind,
            filter_layers=filter_layers,
        )
    )


def compare_training_steps(steps: int, repetitions: int) -> None:
    """A whole training step (forward, backward, AdamW) with and without belief filters."""
    tokens = torch.randint(44, (BATCH, steps))

    def make_step(model: nn.Module) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def step() -> None:
            optimizer.zero_grad()
            model(tokens, labels=tokens).loss.backward()
            optimizer.step()

        return step

    times = measure(
        {
            "no filter": make_step(make_model(steps, 0, ())),
            "filter in layer 0": make_step(make_model(steps, 1, (0,))),
            "filter in both layers": make_step(make_model(steps, 1, (0, 1))),
        },
        repetitions,
    )
    plain = times["no filter"]
    print(f"\nTraining step, embed 64, layers 2, heads 4, batch {BATCH}, T={steps}")
    print(f"{'':24}{'median ms':>10}{'min ms':>9}{'overhead':>10}")
    for name, values in times.items():
        # Neighbours in time share the machine's mood: compare them pairwise.
        overhead = statistics.median(v / p - 1 for v, p in zip(values, plain, strict=True))
        median, best = statistics.median(values), min(values)
        print(f"{name:24}{median:>10.2f}{best:>9.2f}{100 * overhead:>9.1f}%")


@contextmanager
def timed(model: nn.Module, kind: type[nn.Module]) -> Iterator[list[float]]:
    """Microseconds of every forward call of the submodules of a kind."""
    spent: list[float] = []
    started: list[float] = []
    handles = []
    for module in model.modules():
        if isinstance(module, kind):
            handles.append(
                module.register_forward_pre_hook(lambda *_: started.append(time.perf_counter()))
            )
            handles.append(
                module.register_forward_hook(
                    lambda *_: spent.append(1e6 * (time.perf_counter() - started.pop()))
                )
            )
    yield spent
    for handle in handles:
        handle.remove()


@torch.no_grad()
def compare_decoding(positions: Sequence[int], tokens_each: int) -> None:
    """Cost of one more token after short and long histories, split by part."""
    model = make_model(max(positions) + tokens_each + 1, 1, (0, 1)).eval()
    caches = {}
    for position in positions:
        history = torch.randint(44, (1, position))
        caches[position] = model(history, use_cache=True).past_key_values
    token = torch.zeros(1, 1, dtype=torch.long)
    total: dict[int, list[float]] = {position: [] for position in positions}
    attention: dict[int, list[float]] = {position: [] for position in positions}
    filters: dict[int, list[float]] = {position: [] for position in positions}
    with timed(model, CausalAttention) as in_attention, timed(model, BeliefFilter) as in_filters:
        for _ in range(tokens_each):
            for position in positions:
                in_attention.clear()
                in_filters.clear()
                start = time.perf_counter()
                model(token, past_key_values=caches[position])
                total[position].append(1e6 * (time.perf_counter() - start))
                attention[position].append(sum(in_attention))
                filters[position].append(sum(in_filters))
    print("\nDecoding one token, filters in both layers, batch 1, median microseconds")
    print(f"{'position':>9}{'total':>9}{'attention':>11}{'filters':>9}{'rest':>8}")
    for position in positions:
        parts = [statistics.median(part[position]) for part in (total, attention, filters)]
        rest = parts[0] - parts[1] - parts[2]
        print(f"{position:>9}{parts[0]:>9.0f}{parts[1]:>11.0f}{parts[2]:>9.0f}{rest:>8.0f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="the same path on short sequences")
    quick = parser.parse_args(arguments).quick
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if quick:
            compare_scans([64, 128], [2, 2])
            compare_training_steps(64, 2)
            compare_decoding([10, 100], 5)
        else:
            compare_scans([64, 256, 1024, 4096], [60, 30, 15, 5])
            compare_training_steps(256, 40)
            compare_decoding([10, 1000], 60)
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
