"""The benchmark against Kneser-Ney, end to end on a small corpus."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from parley.envs.dialogue.smalltalk import generate_dialogues

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "language_model.py"


def test_it_compares_both_on_the_same_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talks = generate_dialogues(80, seed=0)
    corpus = tmp_path / "talks.txt"
    corpus.write_text("\n\n".join("\n".join(talk) for talk in talks) + "\n")
    small = [
        "model.embed_size=16",
        "model.layers=1",
        "model.context=64",
        "training.batch_tokens=256",
    ]
    steps = ["training.num_steps=10", "training.warmup_steps=2", "training.eval_interval=10"]
    main = runpy.run_path(str(BENCHMARK))["main"]
    main([str(corpus), "--quick", *small, *steps, "evaluation.samples=0", "learner.num_threads=1"])
    printed = capsys.readouterr().out
    assert "parley train dialogue/pretrain" in printed
    assert "68 conversations" in printed
    perplexities = [_figure(printed, name) for name in ("parley", "Kneser-Ney 3-gram")]
    ratio = _figure(printed, "3-gram / parley")
    assert ratio == pytest.approx(perplexities[1] / perplexities[0], rel=0.01)


def _figure(printed: str, name: str) -> float:
    """The perplexity, or the ratio, in the row of `name`."""
    found = re.search(rf"^{name} +(?:[\d.]+ +)?([\d.]+)   ", printed, re.MULTILINE)
    assert found is not None, printed
    return float(found[1])
