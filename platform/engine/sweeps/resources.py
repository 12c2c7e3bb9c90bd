"""What the processes of a trial take of the cluster, and whether it has so much."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray import tune

from parley.platform.cluster.capacity import CPU, count_places
from parley.platform.cluster.nodes import live_nodes
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sweep import SweepableConfig

Bundle = dict[str, float]
"""Resource -> amount that one process takes."""
Bundles = Callable[[Any], list[Bundle]]
"""Takes the class of an algorithm's settings; gives what the processes of a trial take, its own
process first. Asked before Ray starts, and again on the cluster."""


def one_process(config: SweepableConfig) -> list[Bundle]:
    """A trial that is its own process alone."""
    return [{CPU: config.sweep.cpus_per_trial}]


def total(bundles: Sequence[Bundle], resource: str) -> float:
    """What all processes of a trial take of a resource."""
    return math.fsum(bundle.get(resource, 0.0) for bundle in bundles)


def place_trial(bundles: Sequence[Bundle]) -> tune.PlacementGroupFactory:
    """The room that each trial asks of the connected cluster.

    Raises:
        ConfigError: the cluster has less than that, so that the trial would wait indefinitely.
    """
    machines = [node["Resources"] for node in live_nodes()]
    present = ray.cluster_resources()
    for name in dict.fromkeys(name for bundle in bundles for name in bundle):
        wanted, found = total(bundles, name), present.get(name, 0.0)
        largest = max(bundle.get(name, 0.0) for bundle in bundles)
        if wanted > found:
            raise ConfigError(
                f"{_say(name, bundles)}, but the cluster has {found:g}; {_remedy(name)}"
            )
        if not any(count_places({name: largest}, machine) for machine in machines):
            raise ConfigError(
                f"a process of a trial takes {largest:g} {name}, but no machine of the cluster has "
                f"so much; {_remedy(name)}"
            )
    return tune.PlacementGroupFactory(
        [{name: amount for name, amount in bundle.items() if amount} for bundle in bundles]
    )


def _say(resource: str, bundles: Sequence[Bundle]) -> str:
    own = bundles[0].get(resource, 0.0)
    others = total(bundles[1:], resource)
    if resource != CPU:
        return f"a trial takes {own + others:g} {resource}"
    return f"sweep.cpus_per_trial = {own:g}" + (
        f", with {others:g} of a trial's other processes" if others else ""
    )


def _remedy(resource: str) -> str:
    if resource == CPU:
        return "lower sweep.cpus_per_trial or the number of a trial's processes"
    return f"ask for less of it, or join a cluster that has {resource}"
