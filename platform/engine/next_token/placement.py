"""Whether a cluster can hold the workers of a next-token training, and on what they compute."""

from __future__ import annotations

import ray

from parley.platform.cluster.capacity import LEARNER_RESOURCES, NUM_LEARNERS, remedy
from parley.platform.cluster.devices import GPU, choose_devices
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.sections import LearnerConfig


def place_workers(learner: LearnerConfig, other_cpus: int = 0, others: str = "") -> bool:
    """Whether the workers get GPUs: where the settings ask for them and the cluster has them.

    Args:
        learner: how many workers there are.
        other_cpus: CPUs that the workers need besides their own.
        others: what for, in words.

    Raises:
        ConfigError: the cluster can never hold the workers.
    """
    resources = ray.cluster_resources()
    num_workers = max(1, learner.num_learners)
    if resources.get("CPU", 0) < num_workers + other_cpus:
        others_too = f", and {other_cpus} for {others}" if other_cpus else ""
        raise ConfigError(
            f"learner.num_learners {num_workers} needs as many CPUs{others_too}, but the Ray "
            f"cluster counts {resources.get('CPU', 0):g}. "
            f"{remedy('CPU', NUM_LEARNERS, LEARNER_RESOURCES)}"
        )
    for name, amount in (learner.resources or {}).items():
        if resources.get(name, 0) < num_workers * amount:
            raise ConfigError(
                f"learner.resources asks for {amount:g} {name} for each of {num_workers} workers, "
                f"but the Ray cluster counts {resources.get(name, 0):g}. "
                f"{remedy(name, NUM_LEARNERS, LEARNER_RESOURCES)}"
            )
    num_gpus = num_workers * (learner.num_gpus_per_learner or 0.0)
    if resources.get(GPU, 0) < num_gpus:
        raise ConfigError(
            f"learner.num_gpus_per_learner asks for {num_gpus:g} GPUs in all, but the Ray cluster "
            f"counts {resources.get(GPU, 0):g}. {remedy(GPU, NUM_LEARNERS, LEARNER_RESOURCES)}"
        )
    devices = choose_devices(learner)
    return devices.is_cuda and num_workers * devices.num_gpus <= resources.get("GPU", 0)
