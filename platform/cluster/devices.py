"""Which devices learners get: the same settings on a laptop and on a cluster with GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from parley.platform.cluster.nodes import Node, live_nodes
from parley.platform.records import Settings
from parley.platform.settings.sections import LearnerConfig

GPU = "GPU"
COUNTED_GPU = "counted_gpu"
"""Stands in RLlib's settings for GPUs that Ray counts and torch does not see; on real ones RLlib
would have learners compute, and talk to each other, by CUDA."""
ACCELERATOR_TYPE = "accelerator_type:"
"""Begins the resource by which Ray names the kind of GPU that it has found on a machine."""
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class LearnerDevices:
    """Where learners compute."""

    num_learners: int
    """Learner processes; 0: the main process learns."""
    num_gpus: float
    """GPUs of each, as Ray counts them."""
    is_cuda: bool
    """Whether torch computes on them; on GPUs that Ray counts but torch does not see, such as
    those of a test, learners compute on the CPU next to them."""

    @property
    def bundle(self) -> dict[str, float]:
        """What Ray sets aside for each."""
        return {GPU: self.num_gpus} if self.num_gpus else {"CPU": 1.0}


def choose_devices(config: LearnerConfig) -> LearnerDevices:
    """The devices of a run's learners in the cluster of now.

    The main process learns where the settings say so, unless it would have to do without a GPU or
    a resource that the learner shall have: a learner process then goes where these are.
    """
    num_gpus = gpus_per_learner(config)
    if not num_gpus:
        promoted = 1 if config.resources else 0
        return LearnerDevices(max(promoted, config.num_learners), 0.0, False)
    if torch.cuda.is_available():
        return LearnerDevices(config.num_learners, num_gpus, True)
    nodes = gpu_nodes()
    is_cuda = not nodes or any(_sees_cuda(node) for node in nodes)
    return LearnerDevices(max(1, config.num_learners), num_gpus, is_cuda)


def rllib_settings(config: LearnerConfig) -> Settings:
    """RLlib's settings for the learners' number and resources."""
    devices = choose_devices(config)
    resources: dict[str, float] = dict(config.resources or {})
    if devices.num_gpus and not devices.is_cuda:
        resources[COUNTED_GPU] = devices.num_gpus
    return {
        "num_learners": devices.num_learners,
        "num_gpus_per_learner": devices.num_gpus if devices.is_cuda else 0,
        "custom_resources_per_learner": resources,
    }


def gpus_per_learner(config: LearnerConfig) -> float:
    """GPUs of each learner."""
    return gpus_of_each(config.num_gpus_per_learner, config.num_learners)


def gpus_of_each(wanted: float | None, num_processes: int) -> float:
    """GPUs of each process: as the settings say, else one where the cluster has enough of them."""
    if wanted is not None:
        return wanted
    found = ray.cluster_resources().get(GPU, 0.0) if ray.is_initialized() else 0.0
    return 1.0 if found >= max(1, num_processes) else 0.0


def gpu_nodes() -> list[Node]:
    """The machines of the cluster that count GPUs."""
    nodes = live_nodes() if ray.is_initialized() else []
    return [node for node in nodes if node["Resources"].get(GPU)]


def _sees_cuda(node: Node) -> bool:
    """Whether torch can use the machine's GPUs; a process there is asked where Ray cannot tell."""
    if any(name.startswith(ACCELERATOR_TYPE) for name in node["Resources"]):
        return True
    place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    ask = ray.remote(num_cpus=0, max_calls=1)(_finds_cuda)
    return bool(ray.get(ask.options(scheduling_strategy=place).remote()))


def _finds_cuda() -> bool:
    """Whether torch finds a GPU on this machine, though Ray has given none to this process."""
    os.environ.pop(VISIBLE_DEVICES, None)
    return torch.cuda.is_available()
