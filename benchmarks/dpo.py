"""Preference pairs per second: TRL's DPO, the same with its reference computed once, parley.

    python -m benchmarks.dpo [--quick] [--pairs N] [--repetitions N] [--json FILE]

The same model, token ids, batch size, optimiser, number format and number of gradient steps for
all, one pass over the pairs, one thread, no recomputed activations. The time of the reference
counts for everyone; tokenising and building a trainer for no one. Contestants take turns within a
repetition, medians are shown, ratios are taken within a repetition. Times are processor seconds, so
that a busy machine treats all alike.

The real pairs are read from `gricebench/preference_pairs.json` under `PARLEY_DATA`
(`../shared/data` by default); where they are not there, random tokens stand in with the same
lengths and as many pairs to a prompt.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers.utils.logging
from transformers import (
    GPT2LMHeadModel,
    PrinterCallback,
)
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from benchmarks.contestants.dpo_pairs import CONTEXT, LARGE_VOCAB, SMALL_VOCAB, Case, make_case
from parley.platform.cooperate.dpo.batches import pack_pairs, plan_steps
from parley.platform.cooperate.dpo.scoring import response_log_probs
from parley.platform.cooperate.dpo.trainer import build_trainer
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.language.settings import LanguageModelConfig
from parley.platform.language.training import build_language_model
from parley.platform.terminal.quiet import quiet_libraries

STOCK, PRECOMPUTED, PARLEY = "TRL", "TRL, reference once", "parley"
BATCH_SIZE = 16
VOCABULARIES = ((SMALL_VOCAB, 1), (LARGE_VOCAB, 4))
"""Tokens, and the share of the pairs that is measured: one in so many."""
PAIRS_HELP = f"pairs of the pass; a quarter of them with {LARGE_VOCAB:,} tokens"
CPU = torch.device("cpu")


@dataclass
class Work:
    """What one contestant did in one repetition."""

    num_pairs: int = 0
    num_steps: int = 0
    seconds: float = 0.0
    """Processor time of training and reference."""
    reference_seconds: float = 0.0
    """The part of it that went to the reference."""
    positions: int = 0
    """Positions that the policy computed, padding included."""
    padding: int = 0
    """Those that are padding."""


@dataclass
class Figures:
    """All repetitions of a contestant."""

    vocab_size: int
    contestant: str
    works: list[Work] = field(default_factory=list)


class PreparedDPOTrainer(DPOTrainer):
    """TRL's trainer, given token ids; the reference's time is taken."""

    def __init__(self, work: Work, *args: Any, **kwargs: Any) -> None:
        self.work = work
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, *args: Any) -> Any:
        with count_seconds() as seconds:
            dataset = super()._precompute_ref_logps(*args)
        self.work.reference_seconds += seconds[0]
        self.work.seconds += seconds[0]
        return dataset


@contextmanager
def count_seconds() -> Iterator[list[float]]:
    """Processor seconds of the block, in a list of one."""
    seconds = [0.0]
    started = time.process_time()
    yield seconds
    seconds[0] = time.process_time() - started


def run_stock(case: Case, folder: Path, precompute: bool) -> Work:
    """One pass with TRL's own trainer."""
    work = Work(num_pairs=len(case.pairs))
    pairs = case.pairs
    rows = {
        "prompt": ["?"] * len(pairs),
        "prompt_ids": [pairs.prompts[n].tolist() for n in range(len(pairs))],
        "chosen_ids": [pairs.chosen[n].tolist() for n in range(len(pairs))],
        "rejected_ids": [pairs.rejected[n].tolist() for n in range(len(pairs))],
    }
    trainer = PreparedDPOTrainer(
        work,
        GPT2LMHeadModel.from_pretrained(folder),
        args=DPOConfig(
            output_dir=str(folder / "out"),
            per_device_train_batch_size=BATCH_SIZE,
            num_train_epochs=1,
            learning_rate=1e-4,
            max_length=None,
            precompute_ref_log_probs=precompute,
            activation_checkpointing=False,
            bf16=False,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_dict(rows),
        processing_class=case.tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.ref_model is not None:
        _time_calls(trainer.ref_model, work)
    trainer.data_collator = _counting(trainer.data_collator, work)
    with count_seconds() as seconds:
        trainer.train()
    work.seconds += seconds[0]
    work.num_steps = trainer.state.global_step
    return work


def _time_calls(model: Any, work: Work) -> None:
    """Add the time of every call of the reference to `work`."""
    forward = model.forward

    def timed(*args: Any, **kwargs: Any) -> Any:
        with count_seconds() as seconds:
            outputs = forward(*args, **kwargs)
        work.reference_seconds += seconds[0]
        return outputs

    model.forward = timed


def _counting(collate: Callable[[Any], Any], work: Work) -> Callable[[Any], Any]:
    """The collator, which adds to `work` what it pads."""

    def counting(examples: Any) -> Any:
        batch = collate(examples)
        mask = batch["attention_mask"]
        work.positions += mask.numel()
        work.padding += int((mask == 0).sum())
        return batch

    return counting


def run_parley(case: Case, folder: Path) -> Work:
    """One pass with parley's trainer, after one of the reference."""
    work = Work(num_pairs=len(case.pairs))
    model = GPT2LMHeadModel.from_pretrained(folder)
    with count_seconds() as seconds:
        pairs = case.pairs.with_reference(response_log_probs(model, case.pairs))
    work.reference_seconds = seconds[0]
    settings = {"num_epochs": 1, "warmup_steps": 0, "chosen_nll_weight": 0.0}
    config = DialogueDPOConfig.model_validate({"dpo": {"batch_size": BATCH_SIZE, **settings}})
    trainer = build_trainer(model, case.tokenizer, pairs, config, CPU)
    with count_seconds() as seconds:
        trainer.run(lambda row: False, interval_steps=10)
    work.seconds = work.reference_seconds + seconds[0]
    work.num_steps = trainer.num_steps
    for chosen in plan_steps(pairs, BATCH_SIZE, config.seed, epoch=0):
        packed = pack_pairs(pairs, chosen, trainer.forward.shares_prompts)
        work.positions += packed.input_ids.numel()
        work.padding += packed.input_ids.numel() - packed.num_tokens
    return work


CONTESTANTS: dict[str, Callable[[Case, Path], Work]] = {
    STOCK: lambda case, folder: run_stock(case, folder, precompute=False),
    PRECOMPUTED: lambda case, folder: run_stock(case, folder, precompute=True),
    PARLEY: run_parley,
}


def measure(case: Case, repetitions: int) -> list[Figures]:
    """All contestants in turn, again and again, each time on other weights.

    Raises:
        RuntimeError: they did not do the same work.
    """
    figures = [Figures(case.vocab_size, name) for name in CONTESTANTS]
    sizes = LanguageModelConfig(vocab_size=case.vocab_size, context=CONTEXT)
    for repetition in range(repetitions):
        with tempfile.TemporaryDirectory() as name:
            model = build_language_model(sizes, case.tokenizer, repetition)
            model.resize_token_embeddings(case.vocab_size)
            model.save_pretrained(name)
            for contestant in figures:
                contestant.works.append(CONTESTANTS[contestant.contestant](case, Path(name)))
        done = {(f.works[-1].num_pairs, f.works[-1].num_steps) for f in figures}
        if len(done) != 1:
            raise RuntimeError(f"unequal numbers of pairs and gradient steps: {done}")
    return figures


def ratio(figures: Figures, other: Figures, with_reference: bool = True) -> float:
    """How many times as fast as the other, the median of the repetitions."""
    return statistics.median(
        theirs.seconds / (own.seconds - (0.0 if with_reference else own.reference_seconds))
        for own, theirs in zip(figures.works, other.works, strict=True)
    )


def print_table(case: Case, figures: Sequence[Figures]) -> None:
    """One row for each contestant."""
    work = figures[0].works[0]
    print(
        f"\n{case.vocab_size:,} tokens, {case.data} pairs: {work.num_pairs} pairs in "
        f"{work.num_steps} gradient steps of {BATCH_SIZE}"
    )
    print(
        f"{'':<22}{'pairs/s':>9}{'/ TRL':>8}{'/ once':>8}"
        f"{'reference':>11}{'positions a pair':>18}{'padding':>9}"
    )
    stock, once, parley = figures
    for row in figures:
        first = row.works[0]
        speed = statistics.median(w.num_pairs / w.seconds for w in row.works)
        share = statistics.median(w.reference_seconds / w.seconds for w in row.works)
        print(
            f"{row.contestant:<22}{speed:>9.1f}{ratio(row, stock):>7.1f}x{ratio(row, once):>7.1f}x"
            f"{share:>11.0%}{first.positions / first.num_pairs:>18.0f}"
            f"{first.padding / first.positions:>9.0%}"
        )
    print(
        f"{'  the reference apart':<22}{'':>9}{ratio(parley, stock, False):>7.1f}x"
        f"{ratio(parley, once, False):>7.1f}x"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="the same path with few pairs")
    parser.add_argument(
        "--pairs",
        type=int,
        default=256,
        metavar="N",
        help="pairs of the pass; a quarter with 50,257",
    )
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args(arguments)
    if options.quick:
        options.pairs, options.repetitions = 64, 1
    quiet_libraries()
    os.environ["TQDM_DISABLE"] = "1"
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    measured: list[Figures] = []
    try:
        for vocab_size, share in VOCABULARIES:
            case = make_case(vocab_size, options.pairs // share)
            figures = measure(case, options.repetitions)
            print_table(case, figures)
            measured += figures
    finally:
        torch.set_num_threads(threads)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in measured], indent=2) + "\n")


if __name__ == "__main__":
    main()
