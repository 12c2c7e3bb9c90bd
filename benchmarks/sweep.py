"""Processor time of a small sweep: parley's against one TRL process for each trial.

    python -m benchmarks.sweep [--quick] [--pairs N] [--precompute] [--json FILE]

Eight short trials of DPO, a grid of four betas and two learning rates, on the same model, pairs,
batch size, number format and number of gradient steps; no measures on held-out pairs for anyone,
one thread in each process. Each trial saves its model at its end.

 - TRL: eight processes as a user scripts them (`benchmarks/contestants/stock_dpo.py`). Each
   imports, reads and tokenises the pairs, and trains; TRL computes the reference at every step, or
   once before training with `--precompute`.
 - parley: `run_sweep` in one process with a local Ray cluster; pairs become tokens and are scored
   by the reference once, trials share both through the object store and run in workers that live
   from trial to trial.

What is counted is the processor time, user and system, of everything that is started: Python,
imports, the cluster with all its processes, until the last one has ended. This process makes itself
the parent of orphans (Linux's child subreaper), so that it waits for all of them; as Ray's
raylet may wait for its workers without passing their time on, the tree is also polled four times a
second, and the larger of the two figures is taken.

The real pairs are read from `gricebench/preference_pairs.json` under `PARLEY_DATA`
(`../shared/data` by default); where they are not there, pairs are generated from small talk.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BETAS, LEARNING_RATES = (0.05, 0.1, 0.2, 0.4), (3e-5, 1e-4)
BATCH_SIZE, CONTEXT, VOCAB_SIZE = 16, 512, 3_000
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.25
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """What a contestant took for all its trials."""

    contestant: str
    num_trials: int
    steps: list[int]
    """Gradient steps of each trial."""
    losses: list[float]
    """Mean training loss of each trial."""
    waited_s: float
    """Processor time of the processes that were waited for, and of those that they waited for."""
    polled_s: float
    """Processor time of the tree as it was last seen."""
    wall_s: float

    @property
    def processor_s(self) -> float:
        """Processor time: the larger of the two figures."""
        return max(self.waited_s, self.polled_s)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two trials with few pairs")
    parser.add_argument("--pairs", type=int, default=160, metavar="N", help="pairs of a trial")
    parser.add_argument(
        "--precompute", action="store_true", help="TRL computes its reference before training"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--sweep", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    grid = [(beta, rate) for rate in LEARNING_RATES for beta in BETAS]
    if options.quick:
        options.pairs, grid = min(options.pairs, 32), grid[:2]
    if options.sweep:
        run_parley(options.sweep, grid)
        return
    with tempfile.TemporaryDirectory(prefix="parley-sweep-") as name:
        folder = Path(name)
        prepare_folder(folder, options.pairs)
        costs = [
            measure_parley(folder, grid, options.quick),
            measure_stock(folder, grid, options.precompute),
        ]
    check_equal_work(costs)
    print_table(costs, options.pairs)
    if options.json:
        figures = [{**asdict(cost), "processor_s": cost.processor_s} for cost in costs]
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def prepare_folder(folder: Path, num_pairs: int) -> None:
    """Write `model/` and `pairs.jsonl`, in a process of their own: its time is nobody's."""
    code = (
        f"from benchmarks.sweep import write_subject; write_subject({str(folder)!r}, {num_pairs})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), check=True)


def write_subject(folder: str, num_pairs: int) -> None:
    """A small GPT-2 with random weights and its tokenizer, and the pairs."""
    from parley.platform.language.settings import LanguageModelConfig
    from parley.platform.language.tokenizer import train_tokenizer
    from parley.platform.language.training import build_language_model

    rows = read_pairs(num_pairs)
    texts = [text for row in rows for text in row.values()]
    tokenizer = train_tokenizer(texts, VOCAB_SIZE, CONTEXT)
    sizes = LanguageModelConfig(vocab_size=VOCAB_SIZE, context=CONTEXT)
    model = build_language_model(sizes, tokenizer, 0)
    model.save_pretrained(Path(folder) / "model")
    tokenizer.save_pretrained(Path(folder) / "model")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (Path(folder) / "pairs.jsonl").write_text(lines, encoding="utf-8")


def read_pairs(num_pairs: int) -> list[dict[str, str]]:
    """All pairs of randomly chosen prompts, `num_pairs` in all: real ones, else generated ones."""
    from parley.platform.maxims.pairs.generated import generate_pairs

    file = Path(os.environ.get("PARLEY_DATA", "../shared/data")) / "gricebench"
    file = file / "preference_pairs.json"
    if file.is_file():
        rows = json.loads(file.read_text(encoding="utf-8"))
    else:
        split = generate_pairs(2 * num_pairs, 0)
        rows = [asdict(pair) for pair in split.training]
    pairs = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows]
    prompts = sorted({pair["prompt"] for pair in pairs})
    random.Random(0).shuffle(prompts)
    order = {prompt: number for number, prompt in enumerate(prompts)}
    return sorted(pairs, key=lambda pair: order[pair["prompt"]])[:num_pairs]


def measure_parley(folder: Path, grid: Sequence[tuple[float, float]], quick: bool) -> Cost:
    """parley's sweep, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.sweep", "--sweep", str(folder)]
    waited, polled, wall, _ = run_counted([[*command, *(["--quick"] if quick else [])]])
    trials = json.loads((folder / "run" / "trials.json").read_text())
    return Cost(
        "parley",
        len(grid),
        [int(trial["metrics"]["step"]) for trial in trials],
        [float(trial["metrics"]["loss"]) for trial in trials],
        waited,
        polled,
        wall,
    )


def measure_stock(folder: Path, grid: Sequence[tuple[float, float]], precompute: bool) -> Cost:
    """One TRL process after the other."""
    commands = [
        [
            *(sys.executable, "-m", "benchmarks.contestants.stock_dpo"),
            *("--model", str(folder / "model"), "--pairs", str(folder / "pairs.jsonl")),
            *("--out", str(folder / "stock"), "--batch-size", str(BATCH_SIZE)),
            *("--beta", str(beta), "--learning-rate", str(rate)),
            *(["--precompute"] if precompute else []),
        ]
        for beta, rate in grid
    ]
    waited, polled, wall, outputs = run_counted(commands)
    outcomes = [json.loads(output.splitlines()[-1]) for output in outputs]
    return Cost(
        "TRL, reference once" if precompute else "TRL",
        len(grid),
        [int(outcome["steps"]) for outcome in outcomes],
        [float(outcome["loss"]) for outcome in outcomes],
        waited,
        polled,
        wall,
    )


def run_counted(commands: Sequence[Sequence[str]]) -> tuple[float, float, float, list[str]]:
    """Run commands one after the other; processor seconds waited for and polled, wall, outputs.

    Raises:
        RuntimeError: one of them failed.
    """
    # Orphans of the commands become children of this process, which waits for them.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    begun, before = time.monotonic(), _children_seconds()
    seen: dict[tuple[int, float], float] = {}
    outputs = []
    for command in commands:
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdout=output, stderr=subprocess.STDOUT
            )
            while process.poll() is None:
                _poll_tree(seen)
                time.sleep(POLL_S)
            while _poll_tree(seen) and _reap():
                time.sleep(POLL_S)
            output.seek(0)
            outputs.append(output.read())
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{outputs[-1]}")
    waited = _children_seconds() - before
    return waited, sum(seen.values()), time.monotonic() - begun, outputs


def environment() -> dict[str, str]:
    """One thread, no network."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _poll_tree(seen: dict[tuple[int, float], float]) -> int:
    """Note the processor seconds of every process below this one; how many there are."""
    import psutil  # type: ignore[import-untyped]

    below = psutil.Process().children(recursive=True)
    for process in below:
        try:
            with process.oneshot():
                times, started = process.cpu_times(), process.create_time()
        except psutil.Error:
            continue
        seen[process.pid, started] = times.user + times.system
    return len(below)


def _reap() -> bool:
    """Wait for orphans that have ended; whether there may be more."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_parley(folder: Path, grid: Sequence[tuple[float, float]]) -> None:
    """parley's sweep over the grid, with the trial of this benchmark."""
    from parley.platform.cooperate.settings import DialogueDPOConfig
    from parley.platform.engine.sweeps.run import SweepParts, run_sweep
    from parley.platform.runs.run_folder import RunFolder
    from parley.platform.terminal.quiet import quiet_libraries

    quiet_libraries()
    config = DialogueDPOConfig.model_validate(
        {
            "model": str(folder / "model"),
            "dpo": {
                "batch_size": BATCH_SIZE,
                "num_epochs": 1,
                "warmup_steps": 0,
                "chosen_nll_weight": 0.0,
                "label_smoothing": 0.0,
                "schedule": "linear",
            },
            "data": {"path": str(folder / "pairs.jsonl")},
            "sweep": {
                "space": {
                    "dpo": {
                        "learning_rate": {"grid": sorted({rate for _, rate in grid})},
                        "beta": {"grid": sorted({beta for beta, _ in grid})},
                    }
                }
            },
            "checkpoint": {"keep": 1},
        }
    )
    parts = SweepParts(prepare=prepare, trial=run_trial, conclude=conclude)
    with RunFolder.create(config, folder / "run") as run_folder:
        run_sweep(config, run_folder, resume=False, parts=parts)


def prepare(config: Any, folder: Path, progress: Any, stop: Any) -> Any:
    """What all trials share: the model's weights, its tokenizer, the scored pairs."""
    from parley.platform.cooperate.dpo.scoring import response_log_probs
    from parley.platform.cooperate.dpo.token_pairs import encode_pairs
    from parley.platform.maxims.pairs.pair import PreferencePair
    from parley.policies.dialogue.loading import load_language_model
    from parley.policies.dialogue.parts import take_apart

    model = load_language_model(config.model)
    lines = Path(config.data.path).read_text(encoding="utf-8").splitlines()
    rows = [
        PreferencePair(str(number), "", **json.loads(line), maxim="", source="")
        for number, line in enumerate(lines)
    ]
    settings = config.data.model_copy(update={"max_response_tokens": CONTEXT // 2})
    tokenizer: Any = model.tokenizer
    pairs, _ = encode_pairs(rows, tokenizer, CONTEXT, settings)
    scored = pairs.with_reference(response_log_probs(model.model, pairs))
    return take_apart(model.model), tokenizer, scored


def run_trial(
    config: Any, shared: Any, folder: Path, report: Any, restore: Path | None, ending: Any
) -> Mapping[str, object]:
    """One training without measures on held-out pairs; its model is saved at its end."""
    import torch

    from parley.platform.cooperate.dpo.trainer import build_trainer
    from parley.policies.dialogue.parts import build_from_parts

    torch.set_num_threads(1)
    parts, tokenizer, pairs = shared
    model = build_from_parts(parts.config, parts.state)
    trainer = build_trainer(model, tokenizer, pairs, config, torch.device("cpu"))
    rows: list[dict[str, float]] = []

    def keep(row: dict[str, float]) -> bool:
        rows.append(row)
        return False

    trainer.run(keep, interval_steps=trainer.total_steps)
    loss = rows[-1]["loss"]
    figures = {"score": -loss, "loss": loss, "step": trainer.num_steps}
    report(figures, lambda target: model.save_pretrained(target))
    return figures


def conclude(
    config: Any, run_folder: Any, shared: Any, best: Any, progress: Any
) -> tuple[str, dict[str, Any]]:
    """The best trial's checkpoint stays where it is."""
    return str(best.state.relative_to(run_folder.path)), {}


def check_equal_work(costs: Sequence[Cost]) -> None:
    """Both took the same gradient steps.

    Raises:
        RuntimeError: they did not.
    """
    steps = {tuple(sorted(cost.steps)) for cost in costs}
    if len(steps) != 1:
        raise RuntimeError(f"unequal numbers of gradient steps: {steps}")


def print_table(costs: Sequence[Cost], num_pairs: int) -> None:
    """One row for each, and the ratio."""
    own, stock = costs
    print(
        f"\n{own.num_trials} trials of {own.steps[0]} gradient steps, {num_pairs} pairs, batches "
        f"of {BATCH_SIZE}; processor seconds of all processes"
    )
    print(f"{'':<22}{'processor s':>12}{'a trial':>9}{'wall s':>9}{'mean loss':>11}")
    for cost in costs:
        loss = math.fsum(cost.losses) / len(cost.losses)
        print(
            f"{cost.contestant:<22}{cost.processor_s:>12.1f}"
            f"{cost.processor_s / cost.num_trials:>9.1f}{cost.wall_s:>9.1f}{loss:>11.4f}"
        )
    print(f"parley takes 1 / {stock.processor_s / own.processor_s:.1f} of the processor time")


if __name__ == "__main__":
    main()
