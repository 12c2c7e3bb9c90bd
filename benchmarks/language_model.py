"""Held-out perplexity on real conversations: parley's language model against Kneser-Ney.

    python -m benchmarks.language_model [DATA] [--quick] [--run-dir DIR] [key=value ...]

DATA is a file or folder of conversations, `topical_chat` below the folder that PARLEY_DATA names by
default. Both learn from the same conversations and are asked for the same tokens of others: the
model by `dialogue/pretrain` with the settings in `SETTINGS`, so that `parley train` with the same
overrides gives the same figure, and modified Kneser-Ney models, a trigram and a 5-gram.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parley.platform.language.language_data import LanguageData, encode_split, load_split
from parley.platform.language.ngrams import KneserNey
from parley.platform.language.pretrain_run import SPEAKER, run_pretrain
from parley.platform.language.settings import PretrainConfig
from parley.platform.language.tokenizer import load_tokenizer
from parley.platform.language.training import DialogueLosses, load_gpt2, measure_losses
from parley.platform.report.intervals import bootstrap_rate_interval
from parley.platform.runs.checkpoints import resolve_checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.loading import load_experiment

SETTINGS = (
    "model.vocab_size=512",
    "training.num_steps=10000",
    "training.weight_decay=0.1",
    "training.warmup_steps=100",
    "training.eval_interval=1000",
)
"""What differs from `dialogue/pretrain` on generated text."""
QUICK_SETTINGS = ("training.num_steps=60", "training.warmup_steps=10", "training.eval_interval=30")
ORDERS = (3, 5)
"""Of the n-gram models: the trigram to beat, and one that sees nearly all that counts can tell."""


@dataclass(frozen=True)
class Comparison:
    """All models on the same tokens of the same held-out conversations."""

    model: DialogueLosses
    ngrams: dict[int, DialogueLosses]
    """By order."""
    num_parameters: int
    data: LanguageData
    seconds: float

    def lines(self) -> list[str]:
        """The table: perplexities, and their ratios to parley's, with intervals."""
        counts = self.model.counts
        rows = [("parley", self.model.nats)]
        rows += [(f"Kneser-Ney {n}-gram", losses.nats) for n, losses in self.ngrams.items()]
        header = f"{'':<20}{'nats/token':>12}{'perplexity':>12}   95 % interval"
        lines = [
            f"{len(self.data.training)} conversations, {self.data.training.num_targets:,} tokens "
            f"to learn; {len(counts)} held out, {counts.sum():,} tokens; vocabulary "
            f"{len(self.data.tokenizer):,}; {self.num_parameters:,} parameters, "
            f"{self.seconds:.0f} s of gradient steps",
            header,
        ]
        for name, nats in rows:
            low, high = bootstrap_rate_interval(nats, counts)
            mean = nats.sum() / counts.sum()
            interval = f"{math.exp(low):.1f} to {math.exp(high):.1f}"
            lines.append(f"{name:<20}{mean:>12.3f}{math.exp(mean):>12.1f}   {interval}")
        for order, losses in self.ngrams.items():
            difference = losses.nats - self.model.nats
            low, high = bootstrap_rate_interval(difference, counts)
            ratio = math.exp(difference.sum() / counts.sum())
            interval = f"{math.exp(low):.3f} to {math.exp(high):.3f}"
            lines.append(f"{f'{order}-gram / parley':<32}{ratio:>12.3f}   {interval}")
        return lines


def compare(data: Path, run_dir: Path, settings: Sequence[str]) -> Comparison:
    """Train by `dialogue/pretrain`, count n-grams, measure all of them."""
    config = load_experiment("dialogue/pretrain", [*settings, f"data.path={data}"])
    assert isinstance(config, PretrainConfig)
    with RunFolder.create(config, run_dir) as run_folder:
        result = run_pretrain(config, run_folder, resume=False)
    folder = resolve_checkpoint(run_dir).policy_folders[SPEAKER]
    tokenizer = load_tokenizer(folder)
    encoded = encode_split(load_split(config.data, config.seed), config.model, tokenizer)
    model = load_gpt2(folder)
    losses = measure_losses(model, encoded.heldout)
    ngrams = {
        order: KneserNey(encoded.training, order, len(tokenizer)).measure(encoded.heldout)
        for order in ORDERS
    }
    assert all(np.array_equal(losses.counts, other.counts) for other in ngrams.values())
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return Comparison(losses, ngrams, num_parameters, encoded, result["seconds"])


def default_data() -> Path:
    """`topical_chat` in the folder that PARLEY_DATA names."""
    return Path(os.environ.get("PARLEY_DATA", "data")) / "topical_chat"


def main(argv: Sequence[str] | None = None) -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", metavar="DATA", nargs="?", type=Path, default=default_data())
    parser.add_argument("settings", metavar="key=value", nargs="*", help="further overrides")
    parser.add_argument("--quick", action="store_true", help="a few gradient steps")
    parser.add_argument("--run-dir", metavar="DIR", type=Path, help="keep the run here")
    arguments = parser.parse_intermixed_args(argv)
    if not arguments.data.exists():
        print(f"skipped: no conversations at {arguments.data}; name a file or folder of them")
        return
    quick = QUICK_SETTINGS if arguments.quick else ()
    settings = [*SETTINGS, *quick, *arguments.settings]
    print(f"parley train dialogue/pretrain data.path={arguments.data} {' '.join(settings)}")
    with tempfile.TemporaryDirectory(prefix="parley-language-model-") as folder:
        run_dir = arguments.run_dir or Path(folder) / "run"
        print("\n".join(compare(arguments.data, run_dir, settings).lines()))


if __name__ == "__main__":
    main()
