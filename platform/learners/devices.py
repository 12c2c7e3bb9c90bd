"""Which devices learners get."""

from __future__ import annotations

import ray

from parley.platform.config.sections import LearnerConfig


def gpus_per_learner(config: LearnerConfig) -> float:
    """GPUs of each learner: as the settings say, else one where the cluster has enough of them."""
    if config.num_gpus_per_learner is not None:
        return config.num_gpus_per_learner
    wanted = max(1, config.num_learners)
    found = ray.cluster_resources().get("GPU", 0.0) if ray.is_initialized() else 0.0
    return 1.0 if found >= wanted else 0.0
