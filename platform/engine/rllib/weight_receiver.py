"""What parley's env runners share: how RLlib gives them weights and looks after them."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import (
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
)

from parley.platform.monitoring.runner_meter import WEIGHTS_STAMP, RunnerMeter
from parley.platform.records import Settings, State


def hash_weights(modules: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 of the weights: module -> name -> array; equal weights have equal hashes anywhere."""
    digest = hashlib.sha256()
    for module_id in sorted(modules):
        for name in sorted(modules[module_id]):
            array = np.ascontiguousarray(modules[module_id][name])
            digest.update(f"{module_id}/{name} {array.dtype} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class RunnerFailure:
    """An error of a runner's code, brought back as a value."""

    worker_index: int
    traceback: str


class WeightReceiver(EnvRunner, Checkpointable):
    """An env runner whose modules get numbered weights; subclasses make `module` and play."""

    module: MultiRLModule

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.spaces = kwargs.get("spaces", {})
        self._weights_seq_no = 0
        self._meter = RunnerMeter(self.worker_index or 0)

    def make_env(self) -> None:
        """Nothing to make where the rules are plain objects, one for each piece of work."""
        self.env = None

    def make_module(self) -> None:
        """Build the modules; their weights come with the first request."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = cast("MultiRLModule", spec.build())

    def attempt(self, method: str, **arguments: Any) -> Any:
        """Call a method; an error comes back as `RunnerFailure`.

        Raised here, RLlib would end the runner and start it again indefinitely, in silence.
        """
        try:
            return getattr(self, method)(**arguments)
        except Exception:
            return RunnerFailure(self.worker_index or 0, traceback.format_exc())

    def get_metrics(self) -> Any:
        """RLlib's metrics since the last call."""
        return self.metrics.reduce()

    def get_state(self, *args: Any, **kwargs: Any) -> State:
        """The weights and their number, as RLlib's synchronisation wants them."""
        return {
            COMPONENT_RL_MODULE: self.module.get_state(inference_only=True),
            WEIGHTS_SEQ_NO: self._weights_seq_no,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take weights; those already held are not loaded again."""
        self._meter.receive(state.get(WEIGHTS_STAMP))
        number = state.get(WEIGHTS_SEQ_NO, 0)
        if COMPONENT_RL_MODULE in state and (number == 0 or number != self._weights_seq_no):
            weights = state[COMPONENT_RL_MODULE]
            if isinstance(weights, ray.ObjectRef):  # RLlib's own synchronisation nests a reference
                weights = ray.get(weights)
            self.module.set_state(weights)
            self._weights_seq_no = number

    def weights_hash(self) -> tuple[int, str]:
        """This runner's index, and the hash of its weights."""
        state = self.module.get_state(inference_only=True)
        return self.worker_index or 0, hash_weights(state)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], Settings]:
        """How RLlib makes another runner like this one."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The modules."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def assert_healthy(self) -> None:
        """A finished constructor is all that it takes."""

    def ping(self) -> str:
        """Answer RLlib's health check."""
        return "pong"

    def _count_env_steps(self, count: int, num_tokens: int = 0) -> None:
        """Tell RLlib, and who watches the cluster, what was played with the newest weights."""
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED, count, reduce="sum")
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, count, reduce="lifetime_sum")
        self._meter.played(count, num_tokens)
