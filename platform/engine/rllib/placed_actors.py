"""RLlib's actors in placement groups: what it does under Tune alone, for any run.

RLlib can be told a group for its learners, but not where an algorithm is built, and none for its
runners. So a configuration carries both groups: `PlacedPPOConfig` hands the learners' on, and
`PlacedRunners`, which stands in for RLlib's runner group while an algorithm is set up, puts the
runners into theirs. Actors that belong to a group are restarted in it and end with it, also when
the driver is killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.rllib.algorithms import algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


class PlacedPPOConfig(PPOConfig):
    """PPO's configuration, and the groups of its actors where it has any."""

    runner_places: PlacementGroup | None = None
    learner_places: PlacementGroup | None = None

    @classmethod
    def of(
        cls, config: PPOConfig, runners: PlacementGroup, learners: PlacementGroup | None
    ) -> PlacedPPOConfig:
        """The same settings, not yet frozen, with these groups."""
        placed = cls()
        vars(placed).update(vars(config.copy(copy_frozen=False)))
        placed.runner_places, placed.learner_places = runners, learners
        return placed

    def build_learner_group(self, **kwargs: Any) -> LearnerGroup:
        """RLlib's, in the learners' group."""
        return super().build_learner_group(placement_group=self.learner_places, **kwargs)


class PlacedRunners(EnvRunnerGroup):
    """RLlib's runner group; its actors are made in the group of their configuration."""

    def _setup(self, **kwargs: Any) -> None:
        places = getattr(self._remote_config, "runner_places", None)
        if places is not None:
            self._remote_args["scheduling_strategy"] = PlacementGroupSchedulingStrategy(places)
        super()._setup(**kwargs)


@contextmanager
def placed_runners() -> Iterator[None]:
    """Have algorithms that are set up meanwhile make `PlacedRunners`; RLlib has no such setting."""
    names = vars(algorithm)
    original = names[EnvRunnerGroup.__name__]
    names[EnvRunnerGroup.__name__] = PlacedRunners
    try:
        yield
    finally:
        names[EnvRunnerGroup.__name__] = original
