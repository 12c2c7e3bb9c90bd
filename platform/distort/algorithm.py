"""One iteration of self-play: play, reward, credit, update, anchor.

What learns is sent to the runners with every request; models that do not learn are put into Ray's
object store once and fetched once by every runner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS

from parley.envs.dialogue.reward import (
    ReplyReward,
    SurpriseScale,
    next_kl_weight,
    reward_reply,
)
from parley.platform.distort.batch import make_rows, stretches_of
from parley.platform.distort.past_selves import SelfPool
from parley.platform.distort.player import TRAINING
from parley.platform.distort.record import PlayedDialogue
from parley.platform.distort.runner import (
    DialogueRequest,
    DialogueRollout,
    ModelRef,
)
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.engine.rllib.restorable_algorithm import POLICY_PREFIX
from parley.platform.engine.rllib.sequence_algorithm import SequenceAlgorithm
from parley.platform.records import State

Tokens = NDArray[np.int32]
Rewards = dict[str, list[list[ReplyReward]]]
"""Trained seat -> for each dialogue the rewards of its replies."""

OPENER_STREAM, ROW_STREAM = 5, 6
LANGUAGE_MODEL_PREFIX = f"{POLICY_PREFIX}language_model."


@dataclass(frozen=True)
class SelfPlaySetup:
    """Who sits where, and how a dialogue may begin."""

    frozen: Mapping[str, ModelRef]
    """Seats that do not learn."""
    judge: ModelRef
    starts: Mapping[str, ModelRef]
    """Trained seat -> what it started as."""
    openers: Sequence[Tokens]
    """For training."""
    beginning: tuple[int, ...] = ()
    """Ids that every model reads before a history."""


@dataclass
class IterationRecord:
    """What the newest iteration was."""

    dialogues: list[PlayedDialogue] = field(default_factory=list)
    rewards: Rewards = field(default_factory=dict)
    num_tokens: int = 0
    """Drawn by all seats."""
    outside_forward: float = 0.0
    """Share of the runners' time outside of forward passes."""
    kl_weights: Mapping[str, float] = field(default_factory=dict)
    """Under which the rewards were paid."""
    opponent: str = ""
    """Past self in the pool's seat, if any."""


class DialogueAlgorithm(SequenceAlgorithm):
    """Plays, rewards and learns; call `assign` before the first iteration."""

    work_name = "dialogues"

    def setup(self, config: Any) -> None:
        """Start runners and learners."""
        super().setup(config)
        self.experiment: DialogueDistortConfig = self.config.env_config["experiment"]
        self.scale: SurpriseScale | None = None
        """How surprise counts; None: as it is."""
        self.kl_weights = dict.fromkeys(self.experiment.trained_seats, self.experiment.anchor.kl)
        self.record = IterationRecord()
        self.past_self: ModelRef | None = None
        """Who sits in the pool's seat in this iteration, if not its own model."""

    def assign(self, self_play: SelfPlaySetup) -> None:
        """Say who plays."""
        self.self_play = self_play
        of = self.experiment.pool.of
        architecture = self_play.starts[of].architecture if of in self_play.starts else {}
        self.pool = SelfPool(self.experiment.pool, self.experiment.seed, architecture)

    def sample(self) -> list[DialogueRollout]:
        """Play the iteration's dialogues."""
        self.past_self = self.pool.choose(self.iterations_done)
        return self.play(TRAINING, self.experiment.seed, self._next_openers(), self.past_self)

    def learn(self, sampled: Sequence[DialogueRollout]) -> None:
        """Pay for the dialogues, update, adapt the anchor."""
        dialogues = by_number(sampled)
        rewards = {seat: self.pay(dialogues, seat) for seat in self.kl_weights}
        self.record = IterationRecord(
            dialogues=dialogues,
            rewards=rewards,
            num_tokens=sum(dialogue.num_tokens_drawn for dialogue in dialogues),
            outside_forward=_share_outside_forward(sampled),
            kl_weights=dict(self.kl_weights),
            opponent=self.past_self.model_id if self.past_self else "",
        )
        self.metrics.aggregate([r.metrics for r in sampled], key=ENV_RUNNER_RESULTS)
        self.num_env_steps += sum(len(dialogue.turns) for dialogue in dialogues)
        self._learn_from(dialogues, rewards)
        self._adapt_anchor(rewards)
        self.iterations_done += 1
        if self.pool.wants(self.iterations_done):
            self.pool.add(self.iterations_done, self.language_model_state(self.pool.config.of))

    def play(
        self,
        purpose: int,
        seed: int,
        openers: Mapping[int, Tokens],
        past_self: ModelRef | None = None,
    ) -> list[DialogueRollout]:
        """Have the runners hold dialogues, all of them, whatever happens to a runner meanwhile.

        Args:
            purpose: see `player`.
            seed: of the dialogues' random streams.
            openers: dialogue number -> its first turn.
            past_self: who sits in the pool's seat, if not its own model.

        Raises:
            FaultyModelError: a model gave logits that are not finite.
            RunnerError: a runner failed at its work.
            SamplingError: dialogues are missing; see `SequenceAlgorithm.gather`.
        """
        state = self.publish_weights()
        request = self._request(purpose, seed, openers, past_self)
        return self.gather(
            "play",
            openers,
            lambda shares: {"state": state, "request": replace(request, shares=shares)},
        )

    def pay(self, dialogues: Sequence[PlayedDialogue], seat: str) -> list[list[ReplyReward]]:
        """The rewards of a seat's replies, dialogue by dialogue."""
        return [
            [
                reward_reply(
                    _known(turn.judge_log_probs),
                    turn.full_log_probs,
                    _known(turn.start_log_probs),
                    self.kl_weights[seat],
                    self.scale,
                )
                for turn in dialogue.turns_of([seat])
            ]
            for dialogue in dialogues
        ]

    def language_model_state(self, seat: str) -> dict[str, NDArray[Any]]:
        """The weights of a trained seat's language model now."""
        state = self.runner_state()[COMPONENT_RL_MODULE][seat]
        return {
            name.removeprefix(LANGUAGE_MODEL_PREFIX): np.array(array)
            for name, array in state.items()
            if name.startswith(LANGUAGE_MODEL_PREFIX)
        }

    def training_state(self) -> State:
        """All that `restore_training` needs: plain values and numpy arrays."""
        return {
            **super().training_state(),
            "kl_weights": dict(self.kl_weights),
            "pool": self.pool.state(),
        }

    def restore_training(self, state: Mapping[str, Any]) -> None:
        """Take over a `training_state`; after `assign`."""
        super().restore_training(state)
        self.kl_weights = dict(state["kl_weights"])
        self.pool.restore(state["pool"])

    def _next_openers(self) -> dict[int, Tokens]:
        """The numbers of the iteration's dialogues and how they begin."""
        count = self.experiment.rollouts.dialogues_per_iteration
        return self.draw_openers(
            range(self.iterations_done * count, (self.iterations_done + 1) * count)
        )

    def draw_openers(self, numbers: Sequence[int]) -> dict[int, Tokens]:
        """A training opener for each of the dialogues."""
        openers, seed = self.self_play.openers, self.experiment.seed
        streams = {n: np.random.default_rng([seed, OPENER_STREAM, n]) for n in numbers}
        return {n: openers[int(stream.integers(len(openers)))] for n, stream in streams.items()}

    def _request(
        self, purpose: int, seed: int, openers: Mapping[int, Tokens], past_self: ModelRef | None
    ) -> DialogueRequest:
        self_play = self.self_play
        voices = dict(self_play.frozen)
        if past_self is not None:
            voices[self.experiment.pool.seat] = past_self
        seats = self.experiment.dialogue.order
        return DialogueRequest(
            purpose=purpose,
            seed=seed,
            shares={},
            openers=openers,
            trained={seat: seat for seat in seats if seat in self.kl_weights},
            voices={seat: voice for seat, voice in voices.items() if seat in seats},
            judge=self_play.judge,
            starts=self_play.starts,
        )

    def _learn_from(self, dialogues: Sequence[PlayedDialogue], rewards: Rewards) -> None:
        order = np.random.default_rng([self.experiment.seed, ROW_STREAM, self.iterations_done])
        columns = {}
        for seat in sorted(rewards):
            if any(rewards[seat]):
                credit = self.gradient.credit(stretches_of(dialogues, seat, rewards[seat]))
                beginning = self.self_play.beginning
                columns[seat] = make_rows(dialogues, seat, credit, order, beginning)
        self.learn_rows(columns)

    def _adapt_anchor(self, rewards: Rewards) -> None:
        anchor = self.experiment.anchor
        for seat, rows in rewards.items():
            if not any(rows):  # it never had its turn
                continue
            kl = mean_of("kl", rows)
            self.kl_weights[seat] = next_kl_weight(
                self.kl_weights[seat], kl, anchor.kl_budget, anchor.kl, anchor.adapt_rate
            )


def mean_of(name: str, rewards: Sequence[Sequence[ReplyReward]]) -> float:
    """The mean over replies of a part of their rewards."""
    return float(np.mean([reward.parts()[name] for row in rewards for reward in row]))


def by_number(rollouts: Sequence[DialogueRollout]) -> list[PlayedDialogue]:
    """All dialogues once, in the order of their numbers."""
    found = {dialogue.number: dialogue for rollout in rollouts for dialogue in rollout.dialogues}
    return [found[number] for number in sorted(found)]


def _share_outside_forward(rollouts: Sequence[DialogueRollout]) -> float:
    seconds = sum(rollout.seconds for rollout in rollouts)
    return 1.0 - sum(rollout.forward_s for rollout in rollouts) / seconds if seconds else 0.0


def _known(log_probs: NDArray[np.float32] | None) -> NDArray[np.float32]:
    assert log_probs is not None, "the player has every reply of a trained seat scored"
    return log_probs
