"""RLlib's frame whose state can be taken, given back and trusted, whatever dies on the way.

Runners may die or hang at any time; they are replaced (`runner_requests`). A lost learner ends the
algorithm: whoever owns it asks for `num_lost_learners`, and makes another one from a checkpoint.
RLlib's PPO is the frame for its runners, its learners and its settings of minibatches alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray.exceptions import RayActorError
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from torch import Tensor

from parley.platform.engine.rllib.placed_actors import placed_runners
from parley.platform.engine.rllib.placement import Places, needs_places, take_places
from parley.platform.engine.rllib.runner_requests import Answers, ask_runners
from parley.platform.engine.rllib.weight_receiver import hash_weights
from parley.platform.monitoring.runner_meter import WEIGHTS_STAMP, stamp_weights
from parley.platform.records import State
from parley.platform.runs.announcements import ProcessRestarted, announce

POLICY_PREFIX = "policy."
"""Where `TokenModule` holds its policy."""
LEARNER_ANSWER_S = 10.0
"""How long to wait for a sign of life of each learner."""
HURRIED_WAIT_S = 8.0
"""How long to wait for idle runners when the run has been told to end: one may hang."""
SHORT_WAIT_S = 2.0
"""How long to wait for runners that are in the middle of their work when the run has to end."""


class RestoreError(RuntimeError):
    """A learner does not hold the weights that it was given."""


@dataclass(frozen=True)
class IterationTimes:
    """Seconds that one iteration spent."""

    sample_s: float
    learn_s: float


class RestorableAlgorithm(PPO):
    """Runners and learners, and their state; subclasses say what an iteration is."""

    config: PPOConfig  # type: ignore[assignment]  # Tune's base class declares a dict
    metrics: MetricsLogger
    env_runner_group: EnvRunnerGroup
    learner_group: LearnerGroup

    def setup(self, config: Any) -> None:
        """Find room in the cluster; start runners and learners there.

        Raises:
            ClusterFullError: other jobs leave no room.
            ConfigError: the cluster can never hold the actors.
        """
        self.num_env_steps = 0
        self.times = IterationTimes(0.0, 0.0)
        self._notices: list[str] = []
        self.copy_updates_over_s: float | None = None
        """An update that takes longer can be undone, by a copy of the state before it."""
        self._update_number = 0
        self._is_learning = False
        self._before_update: State | None = None
        self._state_timeout_s: float = config.sample_timeout_s
        self._places: Places | None = None
        if needs_places(self.config):
            self.config, self._places = take_places(self.config)
        try:
            with placed_runners():
                super().setup(self.config)
        except BaseException:
            self._release_places()
            raise

    def cleanup(self) -> None:
        """Stop runners and learners, also those that hang; give their room back."""
        try:
            if getattr(self, "env_runner_group", None) is not None:
                self.env_runner_group.reset([])  # RLlib would wait for the answer of each
            super().cleanup()
        finally:
            self._release_places()

    def _release_places(self) -> None:
        if self._places is not None:
            self._places.release()

    def ask(self, method: str, kwargs: Mapping[str, Any], timeout_s: float) -> Answers:
        """Call a method of all runners that are up; see `ask_runners`."""
        answers = ask_runners(self.env_runner_group, method, kwargs, timeout_s)
        self._notices += [
            f"env runner {index} did not answer within {timeout_s:g} s and is replaced"
            for index in answers.silent
        ]
        return answers

    def take_notices(self) -> list[str]:
        """What happened to runners since the last call, for people."""
        taken, self._notices = self._notices, []
        return taken

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """Take runners that Ray has brought back into service; give their indices."""
        restored: list[int] = super().restore_env_runners(env_runner_group)
        for index in restored:
            announce(ProcessRestarted("runner", str(index)))
        return restored

    def begin_iteration(self) -> None:
        """From here on the state is that of a whole iteration, until `begin_update`."""
        self._is_learning = False
        self._before_update = None

    def begin_update(self) -> None:
        """From here to the next iteration the state is no longer that of the one before."""
        limit_s = self.copy_updates_over_s
        if limit_s is not None and self.times.learn_s > limit_s:
            self._before_update = self.learner_state()
        self._is_learning = True

    def undo_iteration(self) -> bool:
        """After `train` was interrupted: be again where the iteration began, if that can be.

        Runners that are busy have no state to give any more; they begin new episodes later.

        Returns:
            False where an update was under way of which there is no copy.
        """
        self._state_timeout_s = SHORT_WAIT_S
        if not self._is_learning:
            return True
        if self._before_update is None or self.config.num_learners:
            return False
        self.restore_learners(self._before_update)
        self.begin_iteration()
        return True

    def hurry(self) -> None:
        """Wait for runners' states no longer than a run may that has been told to end."""
        self._state_timeout_s = min(self._state_timeout_s, HURRIED_WAIT_S)

    def num_lost_learners(self) -> int:
        """Learner processes that have died."""
        answers = self.learner_group.foreach_learner(
            _do_nothing, healthy_only=False, timeout_seconds=LEARNER_ANSWER_S
        )
        return sum(isinstance(answer.get(), RayActorError) for answer in answers)

    def weights_hash(self) -> str:
        """Hash of the trained weights, as runners hold them; see `hash_weights`."""
        return hash_weights(self.runner_state()[COMPONENT_RL_MODULE])

    def runner_hashes(self) -> dict[int, str]:
        """Worker index -> hash of the weights with which a runner last played."""
        hashes = self.ask("weights_hash", {}, self.config.sample_timeout_s).values
        return dict(hashes)

    def runner_state(self) -> State:
        """The trained weights and their number, as runners take them."""
        module = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
        state = self.learner_group.get_state(components=[module], inference_only=True)
        weights = state[COMPONENT_LEARNER][COMPONENT_RL_MODULE]
        return {
            COMPONENT_RL_MODULE: weights,
            WEIGHTS_SEQ_NO: self._update_number,
            WEIGHTS_STAMP: stamp_weights(self._update_number),
        }

    def policy_weights(self) -> dict[str, dict[str, Tensor]]:
        """The learners' weights on the CPU, as state dicts of the policies."""
        modules = self.runner_state()[COMPONENT_RL_MODULE]
        return {
            module_id: {
                name.removeprefix(POLICY_PREFIX): torch.from_numpy(np.array(array))
                for name, array in state.items()
            }
            for module_id, state in modules.items()
        }

    def load_weights(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Give the learners the weights of each module's policy."""
        modules = {
            module_id: {f"{POLICY_PREFIX}{name}": array.numpy() for name, array in state.items()}
            for module_id, state in weights.items()
        }
        self.learner_group.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: modules}})

    def training_state(self) -> State:
        """All that `restore_training` needs: plain values and numpy arrays."""
        return self.learner_state()

    def restore_training(self, state: Mapping[str, Any]) -> None:
        """Go on where `training_state` was called; for a fresh algorithm.

        Raises:
            RestoreError: a learner does not hold the weights afterwards.
        """
        self.restore_learners(state)

    def learner_state(self) -> State:
        """The part of `training_state` that is not the runners'."""
        learner = self.learner_group.get_state()[COMPONENT_LEARNER]
        return {
            "num_env_steps": self.num_env_steps,
            "update_number": self._update_number,
            "weights": learner[COMPONENT_RL_MODULE],
            "optimizers": learner[COMPONENT_OPTIMIZER],
        }

    def restore_learners(self, state: Mapping[str, Any]) -> None:
        """Take over a `learner_state`.

        Raises:
            RestoreError: a learner does not hold the weights afterwards.
        """
        self.num_env_steps = state["num_env_steps"]
        self._update_number = state.get("update_number", 0)
        self.learner_group.set_state(
            {
                COMPONENT_LEARNER: {
                    COMPONENT_RL_MODULE: state["weights"],
                    COMPONENT_OPTIMIZER: state["optimizers"],
                }
            }
        )
        # RLlib says nothing where a remote learner could not take the state.
        expected = hash_weights(state["weights"])
        for found in self.learner_group.foreach_learner(_hash_learner):
            if not found.ok:
                raise found.get()
            if found.get() != expected:
                raise RestoreError(
                    f"a learner holds weights {found.get()[:12]} after the checkpoint's "
                    f"{expected[:12]} were restored"
                )


def _hash_learner(learner: Learner, argument: object = None) -> str:
    return hash_weights(learner.module.get_state())


def _do_nothing(learner: Learner, argument: object = None) -> None:
    """A sign of life."""
