"""Whether machines hold the actors of a run; where they do not, what is missing and what helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from parley.platform.cluster.devices import GPU

Bundle = Mapping[str, float]
"""Resource -> amount: what one actor takes, or what a machine has."""

CPU = "CPU"
NUM_RUNNERS, NUM_LEARNERS = "rollouts.num_env_runners", "learner.num_learners"
RUNNER_RESOURCES, LEARNER_RESOURCES = "rollouts.resources", "learner.resources"


@dataclass(frozen=True)
class Demand:
    """What the actors of a run take."""

    runner: Bundle
    num_runners: int
    learner: Bundle
    num_learners: int
    """0: the main process learns, and takes nothing of what the cluster counts."""

    def __str__(self) -> str:
        kinds = (
            (self.num_runners, "runner", self.runner),
            (self.num_learners, "learner", self.learner),
        )
        return " and ".join(
            f"{count} {name}{'s' if count > 1 else ''} of {_say(bundle)}"
            for count, name, bundle in kinds
            if count
        )


def fits(demand: Demand, machines: Sequence[Bundle]) -> bool:
    """Whether idle machines of these resources hold all actors at once."""
    free = [dict(machine) for machine in machines]
    for _ in range(demand.num_learners):
        able = [machine for machine in free if count_places(demand.learner, machine)]
        if not able:
            return False
        _take(demand.learner, min(able, key=lambda m: _runner_places_lost(demand, m)))
    return sum(count_places(demand.runner, machine) for machine in free) >= demand.num_runners


def count_places(bundle: Bundle, machine: Bundle) -> int:
    """How many actors of this bundle the machine holds."""
    wanted = {name: amount for name, amount in bundle.items() if amount}
    if not wanted:
        return 1 << 30
    return min(int(machine.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.items())


def remedies(demand: Demand, machines: Sequence[Bundle]) -> str:
    """What helps where idle machines do not hold the run, for each resource that they lack."""
    lacking = dict(_find_lacking(demand, machines))
    if not lacking:
        counts = [name for name, count in _counts(demand).items() if count]
        return f"no machine has enough of everything at once; lower {' or '.join(counts)}"
    return "; ".join(remedy(name, *settings) for name, settings in lacking.items())


def remedy(resource: str, count_setting: str, resources_setting: str) -> str:
    """What helps where a cluster has too little of a resource.

    Args:
        resource: its name.
        count_setting: the key that says how many actors take it.
        resources_setting: the key that asks for it, where it is none that Ray counts by itself.
    """
    if resource == CPU:
        return (
            f"CPU: lower {count_setting}, or have more of them counted: by ray.num_cpus in a local "
            f"cluster, by more machines in one that is joined"
        )
    if resource == GPU:
        return (
            f"GPU: set learner.num_gpus_per_learner=0 to learn on CPUs, lower {count_setting}, or "
            f"join a cluster that has more (ray.address)"
        )
    return (
        f"{resource}: lower {count_setting}, leave {resources_setting} out, or join a cluster of "
        f"machines that offer it, begun by ray start --resources '{{\"{resource}\": AMOUNT}}'"
    )


def _find_lacking(
    demand: Demand, machines: Sequence[Bundle]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Resources of which there are too few for one kind of actor, or for both together."""
    kinds = (
        (demand.num_runners, demand.runner, (NUM_RUNNERS, RUNNER_RESOURCES)),
        (demand.num_learners, demand.learner, (NUM_LEARNERS, LEARNER_RESOURCES)),
    )
    wanted: dict[str, float] = {}
    for count, bundle, settings in kinds:
        for name, amount in bundle.items():
            wanted[name] = wanted.get(name, 0.0) + count * amount
            if sum(count_places({name: amount}, machine) for machine in machines) < count:
                yield name, settings
    for name, amount in wanted.items():
        takers = [settings for count, bundle, settings in kinds if count and bundle.get(name)]
        if len(takers) > 1 and sum(machine.get(name, 0.0) for machine in machines) < amount:
            counts, asking = zip(*takers, strict=True)
            yield name, (" or ".join(counts), " and ".join(asking))


def _counts(demand: Demand) -> dict[str, int]:
    return {NUM_RUNNERS: demand.num_runners, NUM_LEARNERS: demand.num_learners}


def _take(bundle: Bundle, machine: dict[str, float]) -> None:
    for name, amount in bundle.items():
        machine[name] = machine.get(name, 0.0) - amount


def _runner_places_lost(demand: Demand, machine: Bundle) -> int:
    """Runners that find no place on a machine once it holds a learner."""
    rest = dict(machine)
    _take(demand.learner, rest)
    return count_places(demand.runner, machine) - count_places(demand.runner, rest)


def _say(bundle: Bundle) -> str:
    return " + ".join(f"{amount:g} {name}" for name, amount in bundle.items() if amount)
