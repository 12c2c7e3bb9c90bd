"""A Ray cluster of several logical machines on this one, and where in it a run's actors are."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.rllib.algorithms.ppo import PPO
from ray.util.placement_group import placement_group_table

from tests.faults.processes import descendants, is_alive
from tests.shared_ray import close_ray

STORE_BYTES = 80 * 2**20
LEAVE_S = 60.0
"""How long killed processes may take to be gone."""


def node(
    cpus: int, gpus: int = 0, resources: Mapping[str, float] | None = None, **more: Any
) -> dict[str, Any]:
    """What a logical machine counts; a GPU of it is a number to Ray and nothing to torch."""
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "resources": dict(resources or {}),
        "object_store_memory": STORE_BYTES,
        **more,
    }


@contextmanager
def logical_cluster(head: dict[str, Any], *others: dict[str, Any]) -> Iterator[Cluster]:
    """Machines as processes of their own, and this process as a driver on the first of them."""
    close_ray()  # where tests before this one have shared one
    before = set(descendants(os.getpid()))
    folder = tempfile.mkdtemp(prefix="parley-")  # pytest's would be too long for Ray's sockets
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)  # where the cluster leaves its address for everyone
        cluster = Cluster()
        try:
            cluster.add_node(**head, gcs_server_port=_free_port(), include_dashboard=False)
            for other in others:
                cluster.add_node(**other)
            ray.init(cluster.address, logging_level=logging.ERROR, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
    left = set(descendants(os.getpid())) - before
    deadline = time.monotonic() + LEAVE_S
    while alive := [pid for pid in left if is_alive(pid)]:
        assert time.monotonic() < deadline, f"still there: {alive}"
        time.sleep(0.1)


def runner_nodes(algorithm: PPO) -> list[str]:
    """The machine of each runner, in the order of the runners."""
    group: Any = algorithm.env_runner_group
    found: list[tuple[int, str]] = group.foreach_env_runner(
        lambda runner: (runner.worker_index, ray.get_runtime_context().get_node_id()),
        local_env_runner=False,
    )
    return [node_id for _, node_id in sorted(found)]


def learner_nodes(algorithm: PPO) -> list[str]:
    """The machine of each learner."""
    group: Any = algorithm.learner_group
    results = group.foreach_learner(lambda learner: ray.get_runtime_context().get_node_id())
    return [result.get() for result in results]


def learner_devices(algorithm: PPO) -> list[str]:
    """What each learner's tensors are on."""
    group: Any = algorithm.learner_group
    results = group.foreach_learner(lambda learner: learner._device.type)
    return [result.get() for result in results]


def groups(state: str = "CREATED") -> list[dict[str, Any]]:
    """The placement groups of the cluster that are in this state."""
    return [group for group in placement_group_table().values() if group["state"] == state]


def node_ids_with(resource: str) -> set[str]:
    """The machines that count a resource."""
    return {
        found["NodeID"]
        for found in ray.nodes()
        if found["Alive"] and found["Resources"].get(resource)
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
