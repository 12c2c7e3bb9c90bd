"""What the tests of cooperation share: pairs, a small model's copy, and judges of plain rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from parley.platform.maxims.interface import Detector
from parley.platform.maxims.pairs.pair import PreferencePair
from parley.platform.maxims.text.exchange import Exchange, make_prompt
from parley.policies.dialogue.loading import LanguageModel, load_language_model

CONTEXT, EVIDENCE = "[agent_1]: Do you like tea?", "Personal Knowledge"


class RuleJudge(Detector):
    """Probabilities that a rule gives; a half and more counts as a violation."""

    def __init__(self, rule: Callable[[Exchange], Sequence[float]]) -> None:
        self.thresholds = np.full(4, 0.5)
        self.rule = rule

    def score_rows(self, rows: Sequence[Exchange]) -> NDArray[np.float64]:
        return np.array([self.rule(row) for row in rows], np.float64).reshape(len(rows), 4)


def judge_length(row: Exchange) -> tuple[float, float, float, float]:
    """More than six words are too many; a digit is a claim."""
    long = min(0.99, len(row.response.split()) / 13)
    return (long, 0.9 if any(c.isdigit() for c in row.response) else 0.1, 0.0, 0.0)


def make_pair(number: int, maxim: str = "quantity", **changes: str) -> PreferencePair:
    """A pair; three prompts make a conversation."""
    fields = {
        "id": f"pair{number}",
        "conversation": f"talk{number // 3}",
        "prompt": make_prompt(f"{CONTEXT} [agent_2]: Yes, {number} cups.", EVIDENCE),
        "chosen": f"I like tea number {number}.",
        "rejected": f"Tea. In other words, I like tea a lot, and tea is tea, all {number} of it.",
        "maxim": maxim,
        "source": "made",
    }
    return PreferencePair(**(fields | changes))


def perturbed(folder: Path, size: float = 0.02, seed: int = 0) -> LanguageModel:
    """The model of `folder` with noise on its weights."""
    model = load_language_model(folder)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return model
