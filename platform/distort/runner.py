"""The env runner of dialogues: holds a share of an iteration's dialogues with RLlib's modules.

A request names everything: which dialogues, who sits where, under which weights. The runner keeps
what it has loaded, and nothing else between requests, so that a restarted runner needs no care:
dialogue number g is the same on any runner. Weights of models that do not learn travel once.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from transformers import PreTrainedModel

from parley.envs.dialogue.rules import DialogueSettings
from parley.platform.distort.player import (
    EVALUATION,
    DialoguePlayer,
    FaultyModelError,
    SeatModels,
)
from parley.platform.distort.record import PlayedDialogue, PlayFault
from parley.platform.engine.rllib.weight_receiver import WeightReceiver
from parley.platform.records import Spaces
from parley.policies.dialogue.module import DialogueModule
from parley.policies.dialogue.parts import build_from_parts
from parley.policies.dialogue.sampling import Sampling
from parley.policies.dialogue.speaker import Speaker

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class DialogueRunnerSettings:
    """What a runner needs to know besides RLlib's own settings."""

    dialogue: DialogueSettings
    sampling: Sampling
    num_rows: int
    """Dialogues in one batch."""
    beginning: tuple[int, ...] = ()
    """Ids that every model reads before a history."""


@dataclass(frozen=True)
class ModelRef:
    """The model of a seat in one request."""

    model_id: str
    """The same id stands for the same weights."""
    architecture: Mapping[str, Any]
    """The transformers configuration."""
    weights: Any
    """Ray's reference to the state dict, as numpy arrays."""


@dataclass(frozen=True)
class DialogueRequest:
    """What the runners shall do; one request for all, each takes its own share."""

    purpose: int
    """See `player`."""
    seed: int
    """Of the dialogues' random streams."""
    shares: Mapping[int, Sequence[int]]
    """Worker index -> the numbers of its dialogues."""
    openers: Mapping[int, Tokens]
    """Dialogue number -> the ids of its opener."""
    trained: Mapping[str, str]
    """Seat -> the RLModule that speaks for it."""
    voices: Mapping[str, ModelRef]
    """The other seats, by name."""
    starts: Mapping[str, ModelRef]
    """Trained seat -> the model that it started as."""
    judge: ModelRef
    """The model that scores, whoever sits in its seat."""


@dataclass
class DialogueRollout:
    """What one runner brings back."""

    worker_index: int
    dialogues: list[PlayedDialogue]
    seconds: float
    """Of the dialogues, loading of models left out."""
    forward_s: float
    """Of them in models' forward passes."""
    metrics: Any = None
    """RLlib's runner metrics."""
    fault: PlayFault | None = None
    """Why the share is incomplete."""
    error: str = ""
    """The traceback of an error that a fresh runner would meet again."""

    @property
    def numbers(self) -> set[int]:
        """The dialogues that were held."""
        return {dialogue.number for dialogue in self.dialogues}

    def raise_fault(self) -> None:
        """Raise the fault of a model, if there was one."""
        if self.fault is not None:
            raise FaultyModelError(self.fault)


class DialogueEnvRunner(WeightReceiver):
    """Plays its share of a `DialogueRequest`.

    The algorithm's `env_config` holds `runner`, its `DialogueRunnerSettings`.
    """

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.settings: DialogueRunnerSettings = self.config.env_config["runner"]
        self._frozen: dict[str, Speaker] = {}
        self._trained: dict[str, Speaker] = {}
        torch.set_num_threads(1)  # runners share a machine: more threads would wait for each other
        self.make_env()
        self.make_module()

    def make_module(self) -> None:
        """Build the trained policies; what spoke for former ones is forgotten."""
        super().make_module()
        self._trained.clear()

    def play(self, state: Mapping[str, Any], request: DialogueRequest) -> DialogueRollout:
        """Take the learners' weights, then hold this runner's share of the dialogues.

        An error is brought back: raised here, RLlib would restart the runner indefinitely, in
        silence.
        """
        rollout = DialogueRollout(self.worker_index or 0, [], 0.0, 0.0)
        try:
            self.set_state(state)
            self._play_share(request, rollout)
        except FaultyModelError as error:
            rollout.fault = error.fault
        except Exception:
            rollout.error = traceback.format_exc()
        self._count_env_steps(
            sum(len(dialogue.turns) for dialogue in rollout.dialogues),
            sum(dialogue.num_tokens_drawn for dialogue in rollout.dialogues),
        )
        rollout.metrics = self.get_metrics()
        return rollout

    def sample(self, **kwargs: Any) -> list[Any]:
        """RLlib's own entry; dialogues are played by `play`, which is told who talks."""
        raise NotImplementedError(
            "sample() cannot say who talks to whom; ask for dialogues by play(state, request)"
        )

    def get_spaces(self) -> Spaces:
        """Observation and action space of every module; those of `parley/Dialogue`."""
        spaces = cast(
            "tuple[gymnasium.Space[Any], gymnasium.Space[Any]]",
            (self.config.observation_space, self.config.action_space),
        )
        seats = self.settings.dialogue.seats
        by_seat = tuple(gymnasium.spaces.Dict(dict.fromkeys(seats, space)) for space in spaces)
        modules = self.config.policies or {}
        return {
            INPUT_ENV_SPACES: by_seat,
            INPUT_ENV_SINGLE_SPACES: by_seat,
            **dict.fromkeys(modules, spaces),
        }

    def _play_share(self, request: DialogueRequest, rollout: DialogueRollout) -> None:
        numbers = list(request.shares.get(self.worker_index or 0, ()))
        models, settings = self._make_models(request), self.settings
        player = DialoguePlayer(settings.dialogue, models, request.seed, request.purpose)
        before = sum(speaker.forward_s for speaker in models.speakers)
        started = time.perf_counter()
        for first in range(0, len(numbers), settings.num_rows):
            batch = numbers[first : first + settings.num_rows]
            played = player.play(batch, [request.openers[n] for n in batch])
            if request.purpose == EVALUATION:
                player.compare_with_start(played)
            rollout.dialogues += played
        rollout.seconds = time.perf_counter() - started
        rollout.forward_s = sum(speaker.forward_s for speaker in models.speakers) - before

    def _make_models(self, request: DialogueRequest) -> SeatModels:
        wanted = [*request.voices.values(), *request.starts.values(), request.judge]
        self._forget_models({voice.model_id for voice in wanted})
        seats = {seat: self._frozen_speaker(voice) for seat, voice in request.voices.items()}
        seats |= {seat: self._trained_speaker(name) for seat, name in request.trained.items()}
        return SeatModels(
            seats=seats,
            judge=self._frozen_speaker(request.judge),
            starts={seat: self._frozen_speaker(voice) for seat, voice in request.starts.items()},
        )

    def _frozen_speaker(self, voice: ModelRef) -> Speaker:
        """The one speaker of a frozen model, whatever it does: speak, judge or anchor."""
        if voice.model_id not in self._frozen:
            arrays: Mapping[str, NDArray[Any]] = ray.get(voice.weights)
            state = {name: torch.tensor(array) for name, array in arrays.items()}
            model = build_from_parts(voice.architecture, state)
            self._frozen[voice.model_id] = self._make_speaker(model)
        return self._frozen[voice.model_id]

    def _trained_speaker(self, module_id: str) -> Speaker:
        if module_id not in self._trained:
            policy = cast("DialogueModule", self.module[module_id]).policy
            self._trained[module_id] = self._make_speaker(policy.language_model, policy.value_head)
        return self._trained[module_id]

    def _make_speaker(self, model: PreTrainedModel, head: torch.nn.Module | None = None) -> Speaker:
        settings = self.settings
        return Speaker(
            model,
            settings.dialogue.end_token,
            settings.num_rows,
            settings.sampling,
            head,
            settings.beginning,
        )

    def _forget_models(self, wanted: set[str]) -> None:
        """Give back the memory of models that nobody needs any more, such as old selves."""
        for model_id in set(self._frozen) - wanted:
            del self._frozen[model_id]
