"""The benchmark of several machines runs; its model conserves bytes, is monotonous, and computes
what was measured. Times are not judged."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import scale_model
from benchmarks.scale_model import (
    LEARNERS,
    RUNNERS,
    STAGES,
    Cluster,
    Constants,
    Workload,
    fit_line,
    rounds,
    simulate,
)

ROOT = Path(__file__).parents[2]
MEASURED: dict[str, Any] = json.loads(scale_model.MEASURED.read_text())
BASE = Cluster(8, 4, 1, 1e9)


@pytest.fixture
def constants() -> Constants:
    return scale_model.read_constants(MEASURED)


@pytest.fixture
def work() -> Workload:
    return scale_model.measured_workload(MEASURED)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_quick_run_measures_what_the_model_reads(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    call = [sys.executable, "-m", "benchmarks.scale_nodes", "--quick", "--json", str(file)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert [point["num_nodes"] for point in found["points"]] == [1, 2, 4]
    assert [point["num_rows"] for point in found["points"]] == [64, 128, 256]
    assert found["constants"].keys() == MEASURED["constants"].keys()
    assert all(value >= 0 for value in found["constants"].values())
    assert len(scale_model.compare(found)) == 3


def test_the_model_computes_the_measured_iterations() -> None:
    """Whole ones to a twentieth; what surrounds playing, mostly the learner, to a quarter."""
    for row in scale_model.compare(MEASURED):
        assert abs(row["error"]) < 0.05
        assert abs(row["error_beside"]) < 0.25


def test_every_sample_passes_the_driver_once_and_each_machine_gets_the_weights_once(
    constants: Constants, work: Workload
) -> None:
    found = simulate(constants, work, replace(BASE, learners=2))
    sample_bytes = found.rows * work.bytes_per_row
    assert found.rows == 8 * work.rows_per_runner
    assert found.link_bytes["samples, into the driver"] == pytest.approx(sample_bytes)
    assert found.link_bytes["samples, out of the driver"] == pytest.approx(sample_bytes)
    leaving = found.link_bytes["samples, out of each runner machine"]
    assert leaving * BASE.nodes == pytest.approx(sample_bytes)
    assert found.link_bytes["weights, into each runner machine"] == work.weight_bytes
    assert tuple(found.stages_s) == STAGES
    assert found.seconds == pytest.approx(sum(found.stages_s.values()))


def test_one_learner_sends_nothing_to_others(constants: Constants, work: Workload) -> None:
    found = simulate(constants, work, BASE)
    assert found.stages_s["feed"] == found.stages_s["all_reduce"] == 0.0
    assert found.link_bytes["gradients, out of each learner"] == 0.0
    alone = simulate(constants, work, Cluster(1, 1, 1, 1e9))
    assert alone.stages_s["broadcast"] == 0.0
    assert alone.stages_s["play"] == work.play_s


def test_more_runners_bring_more_and_are_used_less(constants: Constants, work: Workload) -> None:
    sizes = [simulate(constants, work, replace(BASE, runners=n)) for n in RUNNERS]
    for smaller, larger in itertools.pairwise(sizes):
        assert larger.rows / larger.seconds > smaller.rows / smaller.seconds
        assert larger.efficiency < smaller.efficiency <= 1.0
        assert larger.driver_store_bytes > smaller.driver_store_bytes
        assert larger.staleness >= 1.0


def test_more_learners_and_faster_links_never_learn_slower(
    constants: Constants, work: Workload
) -> None:
    sizes = [simulate(constants, work, replace(BASE, learners=n)) for n in LEARNERS]
    learning = [found.stages_s["learn"] for found in sizes]
    assert learning == sorted(learning, reverse=True)
    slow, fast = (
        simulate(constants, work, replace(BASE, link_bytes_per_s=speed)) for speed in (1e8, 1e10)
    )
    assert all(fast.stages_s[name] <= slow.stages_s[name] for name in STAGES)


@pytest.mark.parametrize(
    ("nodes", "expected"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (63, 6), (64, 6), (65, 7)]
)
def test_weights_reach_all_machines_by_doubling(nodes: int, expected: int) -> None:
    assert rounds(nodes) == expected


def test_a_line_through_points_is_found_again() -> None:
    assert fit_line([1, 2, 4], [5.0, 7.0, 11.0]) == pytest.approx((3.0, 2.0))
