"""What holds after every fault: metrics go on, weights agree, nothing is left over or lost."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util import placement_group_table

from parley.platform.engine.rllib.restorable_algorithm import RestorableAlgorithm
from parley.platform.runs.checkpoints import CheckpointStore
from tests.faults.processes import descendants, is_alive

PATIENCE_S = 90.0
POLL_S = 0.05
TIMES = {"seconds", "steps_per_s", "tokens_per_s", "sample_s", "learn_s", "eval_seconds"}
TIMES |= {"outside_forward"}
RAYS_OWN = {"_AutoscalingCoordinatorActor"}
"""Actors that Ray Train starts for the whole cluster, and leaves."""
Row = dict[str, Any]


def read_rows(run: Path) -> list[Row]:
    """The rows of metrics so far; the last line may be in the making."""
    file = run / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def untimed(rows: Iterable[Row]) -> list[Row]:
    """The rows without what depends on the machine's pace."""
    return [{key: v for key, v in row.items() if key not in TIMES} for row in rows]


def assert_metrics_continue(rows: Sequence[Row], first: int, names: Iterable[str]) -> None:
    """Every iteration once, from `first` on, and its named figures finite."""
    assert [row["iteration"] for row in rows] == list(range(first, first + len(rows)))
    for row in rows:
        for name in names:
            assert row[name] is not None and math.isfinite(row[name]), (row["iteration"], name)


def assert_weights_agree(algorithm: RestorableAlgorithm, num_runners: int) -> None:
    """Every runner holds the learners' weights; ask right after a request for work."""
    hashes = algorithm.runner_hashes()
    assert len(hashes) == num_runners
    assert set(hashes.values()) == {algorithm.weights_hash()}


def assert_nothing_leaked() -> None:
    """The connected cluster holds neither actors nor placement groups that anybody uses."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        actors = ray._private.state.actors().values()
        ours = [actor for actor in actors if actor["ActorClassName"] not in RAYS_OWN]
        alive = [actor for actor in ours if actor["State"] != "DEAD"]
        groups = [g for g in placement_group_table().values() if g["state"] != "REMOVED"]
        if not alive and not groups:
            return
        assert time.monotonic() < deadline, (alive, groups)
        time.sleep(POLL_S)


def assert_no_orphans(pids: Iterable[int]) -> None:
    """None of the processes lives on."""
    left, deadline = set(pids), time.monotonic() + PATIENCE_S
    while left := {pid for pid in left if is_alive(pid)}:
        assert time.monotonic() < deadline, left
        time.sleep(POLL_S)


def assert_saved(run: Path, iteration: int) -> None:
    """The newest checkpoint is whole, and that of the iteration."""
    checkpoint = CheckpointStore(run / "checkpoints").find("last")
    assert checkpoint is not None
    assert checkpoint.path.name == f"iteration_{iteration:06d}"
    assert not list((run / "checkpoints").glob(".*")), "something torn was left"


def find(root: int, title: str) -> list[int]:
    """Ids of the processes below `root` whose title has `title`."""
    return [pid for pid, name in descendants(root).items() if title in name]
