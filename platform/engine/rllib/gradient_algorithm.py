"""One iteration of any policy gradient: sample, then learn; which gradient is the learners'."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import ray
from ray.rllib.utils.metrics import LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from parley.platform.engine.rllib.gradient_learner import SETTINGS, LearnerSettings
from parley.platform.engine.rllib.gradients.policy_gradient import PolicyGradient
from parley.platform.engine.rllib.restorable_algorithm import IterationTimes, RestorableAlgorithm


class GradientAlgorithm(RestorableAlgorithm):
    """Samples and learns in turn; subclasses say how runners are asked, and what is a batch."""

    @property
    def gradient(self) -> PolicyGradient[Any]:
        """What the learners follow."""
        settings: LearnerSettings = self.config.learner_config_dict[SETTINGS]
        return settings.gradient

    @abstractmethod
    def sample(self) -> Any:
        """What the runners bring back for an iteration, drawn with the weights of now."""

    @abstractmethod
    def learn(self, sampled: Any) -> None:
        """Give credit for what was sampled, and update on it; counts the environment steps."""

    def training_step(self) -> None:
        """One iteration."""
        self.begin_iteration()
        started = time.perf_counter()
        sampled = self.sample()
        arrived = time.perf_counter()
        self.begin_update()
        self.learn(sampled)
        self.times = IterationTimes(arrived - started, time.perf_counter() - arrived)

    def publish_weights(self) -> Any:
        """Number the learners' weights; Ray's reference to them, for requests to runners."""
        self._update_number += 1
        return ray.put(self.runner_state())

    def update_learners(self, given: Mapping[str, Any], **counts: int) -> None:
        """Have the learners follow the gradient.

        Args:
            given: `batch`, `batches` or `episodes`, see RLlib's `LearnerGroup.update`.
            counts: for schedules, besides the environment steps.
        """
        results = self.learner_group.update(
            **given,
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps, **counts},
            num_epochs=self.config.num_epochs,
            minibatch_size=self.config.minibatch_size,
            shuffle_batch_per_epoch=True,
        )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)
