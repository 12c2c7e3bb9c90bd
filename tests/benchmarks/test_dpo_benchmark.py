"""The benchmark of DPO: equal work for all, the same lengths with and without the real pairs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import dpo
from benchmarks.contestants import dpo_pairs


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARLEY_DATA", str(tmp_path))


@pytest.mark.usefixtures("no_data")
def test_benchmark_measures_every_contestant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dpo, "VOCABULARIES", ((400, 1),))
    monkeypatch.setattr(dpo_pairs, "SMALL_VOCAB", 400)
    file = tmp_path / "dpo.json"
    dpo.main(["--pairs", "20", "--repetitions", "1", "--json", str(file)])
    assert "20 pairs in 2 gradient steps of 16" in capsys.readouterr().out
    rows = {row["contestant"]: row["works"][0] for row in json.loads(file.read_text())}
    assert list(rows) == [dpo.STOCK, dpo.PRECOMPUTED, dpo.PARLEY]
    for work in rows.values():
        assert 0.0 < work["reference_seconds"] < work["seconds"]
        assert 0 <= work["padding"] < work["positions"]
    assert rows[dpo.PARLEY]["positions"] < rows[dpo.STOCK]["positions"] / 2


@pytest.mark.usefixtures("no_data")
def test_generated_pairs_have_the_lengths_of_the_real_ones() -> None:
    pairs = dpo_pairs.make_case(3_000, 3_000).pairs
    assert len(pairs) == 3_000
    assert 95 < pairs.prompts.lengths.mean() < 125
    assert np.all((pairs.response_lengths.mean(0) > 26) & (pairs.response_lengths.mean(0) < 37))
    assert 2.5 < len(pairs) / (pairs.prompt_groups.max() + 1) < 3.6


@pytest.mark.usefixtures("no_data")
def test_unequal_work_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    works = iter((dpo.Work(16, 1, 1.0), dpo.Work(16, 1, 1.0), dpo.Work(16, 2, 1.0)))
    monkeypatch.setattr(dpo, "CONTESTANTS", dict.fromkeys(dpo.CONTESTANTS, lambda *_: next(works)))
    case = dataclasses.replace(dpo_pairs.make_case(3_000, 16), vocab_size=300)
    with pytest.raises(RuntimeError, match="unequal numbers of pairs and gradient steps"):
        dpo.measure(case, 1)
