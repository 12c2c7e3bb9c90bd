"""Where runners and learners of a run are put in a cluster, and what happens without room."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from parley.platform.cluster.capacity import Demand, count_places, fits, remedies
from parley.platform.engine.rllib.placement import ClusterFullError
from parley.platform.settings.errors import ConfigError
from tests.platform.cluster.conftest import MakeAlgorithm
from tests.platform.cluster.nodes import (
    groups,
    learner_devices,
    learner_nodes,
    logical_cluster,
    node,
    node_ids_with,
    runner_nodes,
)

CPU = {"CPU": 1.0}


@pytest.mark.parametrize(
    ("bundle", "machine", "expected"),
    [
        (CPU, {"CPU": 3.0}, 3),
        (CPU, {"GPU": 3.0}, 0),
        ({"CPU": 1.0, "spot": 0.3}, {"CPU": 8.0, "spot": 1.0}, 3),
        ({"CPU": 0.1}, {"CPU": 1.0}, 10),
        ({"CPU": 1.0, "GPU": 0.0}, {"CPU": 2.0}, 2),
    ],
)
def test_a_machine_holds_as_many_actors_as_its_scarcest_resource(
    bundle: dict[str, float], machine: dict[str, float], expected: int
) -> None:
    assert count_places(bundle, machine) == expected


@pytest.mark.parametrize(
    ("num_runners", "num_learners", "learner", "machines", "expected"),
    [
        (4, 0, CPU, [{"CPU": 2.0}, {"CPU": 2.0}], True),
        (4, 1, CPU, [{"CPU": 2.0}, {"CPU": 2.0}], False),
        (4, 1, {"GPU": 1.0}, [{"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}], True),
        (1, 2, {"GPU": 1.0}, [{"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}], False),
        # A learner that could go anywhere goes where it takes no runner's place.
        (2, 1, {"disk": 1.0}, [{"CPU": 1.0, "disk": 1.0}, {"CPU": 1.0}], True),
        (2, 1, {"CPU": 1.0, "disk": 1.0}, [{"CPU": 1.0}, {"CPU": 2.0, "disk": 1.0}], True),
        (0, 3, {"CPU": 2.0}, [{"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 3.0}], True),
        (1, 3, {"CPU": 2.0}, [{"CPU": 3.0}, {"CPU": 2.0}, {"CPU": 2.0}], True),
        (2, 3, {"CPU": 2.0}, [{"CPU": 3.0}, {"CPU": 2.0}, {"CPU": 2.0}], False),
    ],
)
def test_a_cluster_holds_a_run_or_does_not(
    num_runners: int,
    num_learners: int,
    learner: dict[str, float],
    machines: list[dict[str, float]],
    expected: bool,
) -> None:
    assert fits(Demand(CPU, num_runners, learner, num_learners), machines) == expected


@pytest.mark.parametrize(
    ("demand", "machines", "told", "untold"),
    [
        (
            Demand(CPU, 3, CPU, 0),
            [{"CPU": 2.0}],
            ["lower rollouts.num_env_runners", "ray.num_cpus"],
            "GPU",
        ),
        (
            Demand(CPU, 1, {"GPU": 1.0}, 1),
            [{"CPU": 8.0}],
            ["learner.num_gpus_per_learner=0", "lower learner.num_learners"],
            "num_cpus",
        ),
        (
            Demand({"CPU": 1.0, "spot": 1.0}, 2, CPU, 0),
            [{"CPU": 8.0, "spot": 1.0}],
            ["leave rollouts.resources out", "ray start --resources '{\"spot\": AMOUNT}'"],
            "num_cpus",
        ),
        (
            Demand({"CPU": 1.0, "spot": 1.0}, 9, {"disk": 1.0}, 1),
            [{"CPU": 8.0}],
            ["CPU: ", "spot: ", "disk: lower learner.num_learners, leave learner.resources out"],
            "GPU",
        ),
        # Each kind alone would find room.
        (
            Demand(CPU, 2, CPU, 1),
            [{"CPU": 2.0}],
            ["lower rollouts.num_env_runners or learner.num_learners", "ray.num_cpus"],
            "GPU",
        ),
        # There is enough of all, but on different machines.
        (
            Demand({"CPU": 1.0, "spot": 1.0}, 1, CPU, 0),
            [{"CPU": 1.0}, {"spot": 1.0}],
            ["no machine has enough of everything at once; lower rollouts.num_env_runners"],
            "num_cpus",
        ),
    ],
)
def test_what_a_cluster_lacks_is_named_with_what_helps(
    demand: Demand, machines: list[dict[str, float]], told: list[str], untold: str
) -> None:
    assert not fits(demand, machines)
    said = remedies(demand, machines)
    assert [part for part in told if part not in said] == []
    assert untold not in said


def test_runners_spread_and_the_learner_is_where_the_gpu_is(cart_algorithm: MakeAlgorithm) -> None:
    """With the settings of a laptop, where the main process would have learned."""
    with logical_cluster(node(2), node(2), node(2, gpus=1)):
        (with_gpu,) = node_ids_with("GPU")
        with cart_algorithm("rollouts.num_env_runners=2") as algorithm:
            algorithm.train()
            nodes = runner_nodes(algorithm)
            assert len(set(nodes)) == 2
            assert with_gpu not in nodes
            assert learner_nodes(algorithm) == [with_gpu]
            assert learner_devices(algorithm) == ["cpu"]  # torch sees no GPU there
            held = {
                node_id for group in groups() for node_id in group["bundles_to_node_id"].values()
            }
            assert held == {*nodes, with_gpu}
        assert not groups()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("num_nodes", [1, 2, 4])
def test_runners_spread_evenly_or_are_packed(num_nodes: int, cart_algorithm: MakeAlgorithm) -> None:
    machines = [node(4) for _ in range(num_nodes)]
    with logical_cluster(*machines):
        with cart_algorithm("rollouts.num_env_runners=4") as algorithm:
            nodes = runner_nodes(algorithm)
            assert sorted(nodes.count(node_id) for node_id in set(nodes)) == [4 // num_nodes] * (
                num_nodes
            )
            algorithm.train()
        until(lambda: ray.available_resources().get("CPU") == 4 * num_nodes)
        packed = ("rollouts.num_env_runners=4", "rollouts.placement=pack")
        with cart_algorithm(*packed) as algorithm:
            assert len(set(runner_nodes(algorithm))) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_where_runners_are_changes_no_figure(cart_algorithm: MakeAlgorithm) -> None:
    """One, two and four machines: the same returns and, bit by bit, the same weights."""
    found = []
    for machines in ([node(4)], [node(2)] * 2, [node(1)] * 4):
        with (
            logical_cluster(*machines),
            cart_algorithm(
                "rollouts.num_env_runners=4", "rollouts.num_envs_per_env_runner=2"
            ) as algorithm,
        ):
            returns = []
            for _ in range(3):
                algorithm.train()
                returns += algorithm.returns
            assert len(set(runner_nodes(algorithm))) == len(machines)
            found.append((returns, algorithm.weights_hash()))
    assert found[0][0]
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_actors_go_where_the_resources_are_that_they_are_given(
    cart_algorithm: MakeAlgorithm,
) -> None:
    with logical_cluster(
        node(4), node(2, resources={"spot": 2}), node(2, resources={"spot": 2, "disk": 1})
    ):
        with cart_algorithm(
            "rollouts.num_env_runners=3",
            "rollouts.resources={spot = 1}",
            "learner.resources={disk = 1}",
        ) as algorithm:
            algorithm.train()
            assert set(runner_nodes(algorithm)) == node_ids_with("spot")
            assert set(learner_nodes(algorithm)) == node_ids_with("disk")
        with pytest.raises(ConfigError, match=r"5 runners of 1 CPU \+ 1 spot.*of 4 spot free"):
            enter(cart_algorithm("rollouts.num_env_runners=5", "rollouts.resources={spot = 1}"))
        assert not groups()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_machines_with_gpus_hold_runners_where_the_others_do_not_suffice(
    cart_algorithm: MakeAlgorithm,
) -> None:
    with logical_cluster(node(1), node(3, gpus=2)):
        (with_gpu,) = node_ids_with("GPU")
        with cart_algorithm("rollouts.num_env_runners=3", "learner.num_learners=2") as algorithm:
            algorithm.train()
            assert runner_nodes(algorithm).count(with_gpu) == 2
            assert learner_nodes(algorithm) == [with_gpu] * 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_goes_on_without_a_lost_machine_and_comes_back_with_a_new_one(
    cart_algorithm: MakeAlgorithm,
) -> None:
    with (
        logical_cluster(node(1), node(1)) as cluster,
        cart_algorithm("rollouts.num_env_runners=2") as algorithm,
    ):
        algorithm.train()
        assert len(set(runner_nodes(algorithm))) == 2
        (lost,) = cluster.worker_nodes
        lost_id = lost.node_id
        cluster.remove_node(lost, allow_graceful=False)
        for _ in range(3):
            algorithm.train()
        assert algorithm.num_env_steps >= 5 * 64
        cluster.add_node(**node(1))
        until(lambda: algorithm.train() and len(set(runner_nodes(algorithm))) == 2)
        assert lost_id not in runner_nodes(algorithm)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_waits_in_sight_for_machines_and_for_other_jobs(
    cart_algorithm: MakeAlgorithm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runners = "rollouts.num_env_runners=3"
    with logical_cluster(node(2)) as cluster:
        with pytest.raises(ConfigError, match=r"3 runners of 1 CPU.*2 of 2 CPU free.*num_cpus"):
            enter(cart_algorithm(runners))  # a local cluster does not grow
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        with pytest.raises(ClusterFullError, match=r"no room for 3 s \(ray.wait_s\).*3 runners"):
            enter(cart_algorithm(runners, "ray.wait_s=3"))
        assert not groups("PENDING")
        other = placement_group([{"CPU": 2}])
        assert other.wait(30)
        capsys.readouterr()
        said: list[str] = []

        def says(text: str) -> bool:
            said.append(capsys.readouterr().out)
            return text in "".join(said)

        with ThreadPoolExecutor(1) as pool:  # Ray starts machines from the main thread alone
            run = pool.submit(train_once, cart_algorithm(runners))
            until(lambda: says("waiting for room: the run needs 3 runners of 1 CPU; the Ray"))
            assert says("of 1 machine has 0 of 2 CPU free")
            remove_placement_group(other)
            until(lambda: says("2 of 2 CPU free"))
            assert not run.done()
            cluster.add_node(**node(1))
            assert run.result() == 64 * 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_placement_group_around_the_run_is_honoured(cart_algorithm: MakeAlgorithm) -> None:
    """As Tune makes one for a trial: the run makes none of its own."""

    class Trial:
        def run(self) -> Any:
            with cart_algorithm("rollouts.num_env_runners=2") as algorithm:
                algorithm.train()
                return runner_nodes(algorithm), len(groups())

    with logical_cluster(node(1), node(2), node(2, resources={"here": 1})):
        around = placement_group([{"CPU": 1, "here": 1}, {"CPU": 1}, {"CPU": 1}], "STRICT_SPREAD")
        assert around.wait(30)
        actor_class: Any = ray.remote(Trial)
        strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
            around, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
        trial = actor_class.options(num_cpus=1, scheduling_strategy=strategy).remote()
        nodes, num_groups = ray.get(trial.run.remote())
        table = ray.util.placement_group_table(around)["bundles_to_node_id"]
        assert nodes == [table[1], table[2]]
        assert num_groups == 1


def train_once(manager: Any) -> int:
    """One iteration; the environment steps that it took."""
    with manager as algorithm:
        algorithm.train()
        return int(algorithm.num_env_steps)


def enter(manager: Any) -> None:
    with manager:
        pass


def until(condition: Any, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
