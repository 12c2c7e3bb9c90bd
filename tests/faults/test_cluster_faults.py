"""A machine is lost and another joins; the object store overflows: the run goes on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import ray
from ray._private.internal_api import memory_summary

from parley.platform.control.ppo_run import PPORun
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.loading import load_experiment
from tests.faults.aftermath import (
    assert_metrics_continue,
    assert_no_orphans,
    assert_nothing_leaked,
    assert_saved,
    assert_weights_agree,
    read_rows,
    untimed,
)
from tests.faults.fault_runs import CARTS, LOSSES
from tests.faults.processes import descendants
from tests.platform.cluster.nodes import logical_cluster, node

QUIET = [*CARTS, "evaluation.interval_env_steps=0"]
ROOM = "room"
"""What only some machines offer."""
HELD_BYTES = 24 * 2**20


def load(*overrides: str) -> CartPolePPOConfig:
    config = load_experiment("cartpole/ppo", [*QUIET, *overrides])
    assert isinstance(config, CartPolePPOConfig)
    return config


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_loses_a_machine_and_gains_another(tmp_path: Path) -> None:
    """One of two runners is on it; the run goes on with the other one until there is room again."""
    config = load(f"rollouts.resources={{{ROOM}=1}}", "rollouts.sample_timeout_s=60.0")
    place = node(1, resources={ROOM: 1})
    with logical_cluster(node(2), place) as cluster:
        lost = cluster.add_node(**place)
        with RunFolder.create(config, tmp_path / "run") as folder:
            run = PPORun(config, folder)
            try:
                run.iterate()
                assert run.env_steps == 64
                pids = [info.process.pid for infos in lost.all_processes.values() for info in infos]
                below = [pid for parent in pids for pid in descendants(parent)]
                cluster.remove_node(lost, allow_graceful=False)
                before = run.env_steps
                for _ in range(3):
                    before = run.env_steps
                    run.iterate()
                    assert run.env_steps - before in (32, 64)
                assert run.env_steps - before == 32, "the lost runner had nowhere to go"
                cluster.add_node(**place)
                while run.env_steps - before < 64:
                    assert run.iteration < 400, "the runner did not come back"
                    before = run.env_steps
                    run.iterate()
                run.algorithm.sample()
                assert_weights_agree(run.algorithm, num_runners=2)
                run.save()
            finally:
                run.close()
        rows = read_rows(tmp_path / "run")
        assert_metrics_continue(rows, 1, LOSSES)
        assert_saved(tmp_path / "run", len(rows))
        assert_no_orphans([*pids, *below])
        assert_nothing_leaked()


def train(folder: Path, num_iterations: int) -> list[dict[str, object]]:
    config = load("rollouts.num_env_runners=1", "ppo.minibatch_size=16")
    with RunFolder.create(config, folder) as run_folder:
        run = PPORun(config, run_folder)
        try:
            for _ in range(num_iterations):
                run.iterate()
            run.save()
        finally:
            run.close()
    return untimed(read_rows(folder))


def spilled_files() -> list[Path]:
    """Objects that Ray has put on the disk, of this test's cluster."""
    session = Path(os.environ["RAY_TMPDIR"])
    files = session.rglob("ray_spilled_objects*/*")
    return [path for path in files if path.is_file()]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_object_store_that_overflows_changes_no_figure(tmp_path: Path) -> None:
    """Others' objects take twice what it holds, before the run and during it."""
    with logical_cluster(node(2) | {"object_store_memory": 400 * 2**20}):
        expected = train(tmp_path / "quiet", 4)
    with logical_cluster(node(2)) as cluster:  # the smallest store that there is
        held = [ray.put(np.full(HELD_BYTES, number, np.uint8)) for number in range(8)]
        assert train(tmp_path / "crowded", 4) == expected
        assert "Spilled" in memory_summary(cluster.address, stats_only=True)
        assert spilled_files()
        assert [int(ray.get(reference)[0]) for reference in held] == list(range(8))
        folder = Path(os.environ["RAY_TMPDIR"])
        held.clear()
        assert_nothing_leaked()
    assert not folder.exists(), "the spilled files go with the cluster"
