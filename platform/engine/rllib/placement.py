"""Where in a cluster the actors of a run are put, and what happens while there is no room.

RLlib asks for a placement group only under Tune; a run of its own gets its groups here. One holds
the runners, spread over the machines without GPUs as far as these suffice; one holds the learners,
close to each other. An actor that is restarted finds the room that it had; when a machine is lost,
Ray moves its bundles to another, or keeps them waiting while the rest of the run goes on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    placement_group,
    remove_placement_group,
)

from parley.platform.cluster.capacity import Bundle, Demand, fits, remedies
from parley.platform.cluster.devices import COUNTED_GPU, GPU
from parley.platform.cluster.nodes import live_nodes
from parley.platform.engine.rllib.placed_actors import PlacedPPOConfig
from parley.platform.errors import ParleyError
from parley.platform.records import Settings
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import RayConfig, RunnerConfig

WAIT_S = "wait_s"
"""Key of `env_config`: how long the algorithm may wait for room."""
ADDRESS_VARIABLE = "RAY_ADDRESS"
NODE_ID_LABEL = "ray.io/node-id"
LOCAL_WAIT_S = 60.0
"""How long a run waits for room in a cluster of its own, where nobody else takes any."""
QUIET_S = 2.0
"""Waiting shorter than this is not worth a word."""


class ClusterFullError(ParleyError):
    """Other jobs, or missing machines, left no room for the run for as long as it waits."""


@dataclass
class Places:
    """The room that a run has in the cluster, until it is released."""

    runners: PlacementGroup
    learners: PlacementGroup | None

    def release(self) -> None:
        """Give the room back; safe to call twice, and after the cluster has gone."""
        for group in (self.runners, self.learners):
            if group is not None and ray.is_initialized():
                with suppress(ray.exceptions.RayError, ValueError):
                    remove_placement_group(group)


def wait_s(config: RayConfig) -> float:
    """How long a run waits until a cluster can hold it; 0 in a local one, which will not grow."""
    joined = config.address or os.environ.get(ADDRESS_VARIABLE)
    return config.wait_s if joined else 0.0


def runner_settings(config: RunnerConfig) -> Settings:
    """RLlib's settings for the runners' number and resources."""
    return {
        "num_env_runners": config.num_env_runners,
        "custom_resources_per_env_runner": dict(config.resources or {}),
    }


def needs_places(config: PPOConfig) -> bool:
    """Whether an algorithm has to find room for its actors: Tune finds it for its trials."""
    return config.num_env_runners > 0 and get_current_placement_group() is None


def demand_of(config: PPOConfig) -> Demand:
    """What the actors of an RLlib configuration take."""
    resources: dict[str, float] = dict(config.custom_resources_per_learner or {})
    if config.num_gpus_per_learner:
        resources[GPU] = config.num_gpus_per_learner
    elif COUNTED_GPU in resources:
        resources[GPU] = resources.pop(COUNTED_GPU)
    if GPU not in resources:
        resources["CPU"] = 1.0
    return Demand(
        runner={
            "CPU": float(config.num_cpus_per_env_runner),
            **config.custom_resources_per_env_runner,
        },
        num_runners=config.num_env_runners,
        learner=resources,
        num_learners=config.num_learners,
    )


def take_places(config: PPOConfig) -> tuple[PlacedPPOConfig, Places]:
    """Reserve room for all actors of a configuration; give one whose actors are made there.

    Learners on CUDA devices ask for their GPUs themselves, because RLlib derives from that how they
    talk to each other; their room is only waited for. On GPUs that only Ray counts, it is the room
    alone that brings them there.

    Raises:
        ClusterFullError: there was no room for as long as the run waits.
        ConfigError: the cluster can never hold the run.
    """
    demand = demand_of(config)
    places = reserve(demand, config.placement_strategy, config.env_config.get(WAIT_S, 0.0))
    if config.num_gpus_per_learner and places.learners is not None:
        remove_placement_group(places.learners)
        places.learners = None
    placed = PlacedPPOConfig.of(config, places.runners, places.learners)
    resources = dict(config.custom_resources_per_learner or {})
    if resources.pop(COUNTED_GPU, None):
        placed.learners(num_cpus_per_learner=0, custom_resources_per_learner=resources)
    placed.freeze()
    return placed, places


def reserve(demand: Demand, strategy: str, wait_s: float) -> Places:
    """Set aside room for learners and runners; wait in sight while there is none.

    Args:
        demand: what for.
        strategy: Ray's, for the runners: `SPREAD` or `PACK`.
        wait_s: how long machines may take to come; 0: none will.

    Raises:
        ClusterFullError: there was no room for `wait_s`.
        ConfigError: the cluster can never hold the run.
    """
    if not wait_s and not fits(demand, _machines()):
        raise ConfigError(
            f"the run needs {demand}, but the Ray cluster {_describe_machines()}. "
            f"{remedies(demand, _machines())}"
        )
    learners = None
    if demand.num_learners:
        learners = placement_group([dict(demand.learner)] * demand.num_learners, "PACK")
    runners = placement_group(
        [dict(demand.runner)] * demand.num_runners,
        strategy,
        bundle_label_selector=_runner_labels(demand) if strategy == "SPREAD" else None,
    )
    places = Places(runners, learners)
    try:
        _await(places, demand, wait_s or LOCAL_WAIT_S)
    except BaseException:
        places.release()
        raise
    return places


def _runner_labels(demand: Demand) -> list[dict[str, str]] | None:
    """Keeps runners off the machines with GPUs where the others hold them all."""
    others = [node["Resources"] for node in live_nodes() if not node["Resources"].get(GPU)]
    with_gpus = [node["NodeID"] for node in live_nodes() if node["Resources"].get(GPU)]
    learners_here = 0 if demand.learner.get(GPU) else demand.num_learners
    alone = Demand(demand.runner, demand.num_runners, demand.learner, learners_here)
    if not with_gpus or not fits(alone, others):
        return None
    return [{NODE_ID_LABEL: f"!in({','.join(with_gpus)})"}] * demand.num_runners


def _await(places: Places, demand: Demand, wait_s: float) -> None:
    """Wait until all room is there, and say so."""
    groups = [group for group in (places.learners, places.runners) if group is not None]
    started, told = time.monotonic(), ""
    with _interruptible():
        while not all(group.wait(timeout_seconds=1) for group in groups):
            waited_s = time.monotonic() - started
            state = f"the run needs {demand}; the Ray cluster {_describe_machines()}"
            if waited_s > wait_s:
                machines = _machines()
                helps = "others hold it: free some, or wait for longer"
                if not fits(demand, machines):
                    helps = remedies(demand, machines)
                raise ClusterFullError(
                    f"there was no room for {wait_s:.0f} s (ray.wait_s): {state}. {helps}"
                )
            if state != told and waited_s > QUIET_S:
                print(f"waiting for room: {state}", flush=True)
                told = state


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a signal end the waiting at once: a run that has not begun has nothing to save."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _machines() -> list[Bundle]:
    return [node["Resources"] for node in live_nodes()]


def _describe_machines() -> str:
    """What the cluster counts and what of it is free, in words."""
    total, free = ray.cluster_resources(), ray.available_resources()
    names = [name for name in sorted(total) if name in ("CPU", GPU) or _is_custom(name)]
    count = len(live_nodes())
    parts = [f"{free.get(name, 0.0):g} of {total[name]:g} {name} free" for name in names]
    return f"of {count} machine{'s' if count > 1 else ''} has {', '.join(parts)}"


def _is_custom(name: str) -> bool:
    """Whether a resource is one that somebody gave to machines, and none of Ray's own."""
    own = ("node:", "accelerator_type:", "bundle_group_", "memory", "object_store_memory")
    return not name.startswith(own) and "_group_" not in name
