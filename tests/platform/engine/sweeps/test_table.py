"""The table of a sweep's trials: within 80 columns, whatever is swept; nothing is cut."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from parley.platform.engine.sweeps.record import TrialRecord
from parley.platform.engine.sweeps.space import TrialPlan
from parley.platform.engine.sweeps.table import WIDTH, print_trials
from parley.platform.engine.sweeps.trial_folder import TrialFolder

VALUES: dict[str, float | str] = {
    "dpo.beta": 0.123,
    "dpo.learning_rate": 1.23e-4,
    "dpo.chosen_nll_weight": 1.0,
    "supervised.learning_rate": 5e-4,
    "dpo.label_smoothing": 0.1,
    "dpo.max_grad_norm": 1.0,
    "dpo.schedule": "constant_with_warmup",
}


def make_record(number: int, num_keys: int, folder: Path) -> TrialRecord:
    values = dict(list(VALUES.items())[:num_keys])
    record = TrialRecord(TrialPlan(number, values), TrialFolder(folder / str(number), 2))
    figures = {"score": 0.5, "cooperative_rate": 0.25, "preference_accuracy": 0.75}
    record.rows = [{"evaluation": 12, "seconds": 45_000.0, "config": values, **figures}]
    record.status = "stopped early"
    return record


@pytest.mark.parametrize("num_keys", range(len(VALUES) + 1))
def test_all_widths_fit(num_keys: int, tmp_path: Path) -> None:
    stream = io.StringIO()
    print_trials([make_record(number, num_keys, tmp_path) for number in range(3)], stream)
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" not in text
    assert text.count("stopped early") == 3
    assert text.count("0.500") == 3


def test_what_is_left_out_first(tmp_path: Path) -> None:
    def print_with(num_keys: int) -> str:
        stream = io.StringIO()
        print_trials([make_record(0, num_keys, tmp_path)], stream)
        return stream.getvalue()

    assert "12h30m" in print_with(2)
    assert "time" not in print_with(3)
    assert "coop." in print_with(3)
    assert "coop." not in print_with(4)
    two_rates = [line.split() for line in print_with(4).splitlines()]
    assert any("supervised" in words for words in two_rates)


def test_no_trials_are_an_empty_table() -> None:
    stream = io.StringIO()
    print_trials([], stream)
    assert "…" not in stream.getvalue()
