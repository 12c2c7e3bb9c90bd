"""Evaluations and trials as the report reads them."""

from __future__ import annotations

from typing import Any

from parley.platform.maxims.text.exchange import MAXIMS
from tests.platform.report.pages import EVIL

METRICS = {
    "cooperative_rate": 0.9,
    "cooperative_rate_ci95": [0.85, 0.95],
    "cooperative_rate_untuned": 0.7,
    "cooperative_rate_untuned_ci95": [0.6, 0.8],
    "cooperative_rate_human_ci95": [0.85, 0.97],
    "cooperative_gain_ci95": [-0.09, 0.47],
    "violation_rate_by_maxim": {maxim: 0.125 for maxim in MAXIMS},
    "violation_rate_by_maxim_ci95": {maxim: [0.11, 0.14] for maxim in MAXIMS},
    "prompts": 90,
    "preference_accuracy": 0.93,
    "preference_accuracy_ci95": [0.9, 0.96],
    "preference_accuracy_length_controlled": None,
    "preference_accuracy_by_maxim": {"quantity": 0.975, EVIL: None},
    "preference_accuracy_by_maxim_ci95": {"quantity": [0.9, 1.0], EVIL: [None, None]},
    "preference_accuracy_pairs": {"quantity": 40, EVIL: 3},
}


def system(name: str, rate: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "cooperative": rate,
        "cooperative_ci95": [rate, rate],
        "violations": {maxim: rate for maxim in MAXIMS},
        "detector_cooperative": rate,
        "perplexity": 1234.5,
        "distinct_2": rate,
        "words": 12.3,
        "repeated": 0.0,
    }


def evaluation() -> dict[str, Any]:
    answer = {"text": EVIL, "violations": ["quality", EVIL], "detected": []}
    sample = {
        "context": EVIL,
        "evidence": EVIL,
        "answers": {"human": answer, "tuned": {"text": "", "violations": [], "detected": []}},
    }
    table = [system("untuned", 0.7), system("tuned", 0.9), system(EVIL, None)]
    return {"source": EVIL, "metrics": METRICS, "table": table, "samples": [sample] * 8}


def trial(number: int, beta: object, rate: object, status: str = "done") -> dict[str, Any]:
    return {
        "trial": f"{number:05d}",
        "config": {"dpo.beta": beta, "dpo.learning_rate": 1e-4 * (1 + number % 2)},
        "status": status,
        "metrics": {} if rate is None else {"cooperative_rate": rate, "score": rate},
        "seconds": 61.0,
        "checkpoint": None,
        "error": f"{EVIL}\nmore" if status == "failed" else None,
    }
