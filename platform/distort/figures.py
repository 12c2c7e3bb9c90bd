"""The figures of an iteration of self-play, and the attractors that form over iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parley.platform.distort.algorithm import IterationRecord, mean_of
from parley.platform.distort.task import DialogueTask
from parley.platform.distort.viewing.attractors import AttractorTracker
from parley.platform.engine.rllib.restorable_algorithm import IterationTimes
from parley.platform.records import Metrics, State

LOSSES = ("policy_loss", "value_loss", "clip_fraction")
REWARD_PARTS = ("competitor_nll", "counted_nll", "kl", "kl_penalty")


class IterationFigures:
    """Measures iterations in their order; means over the trained seats where there are several.

    Args:
        task: whose tokenizer made the replies.
        seats: the trained ones.
    """

    def __init__(self, task: DialogueTask, seats: Sequence[str]) -> None:
        self.task = task
        self.seats = seats
        self.trackers = {seat: AttractorTracker() for seat in seats}

    def measure(
        self,
        record: IterationRecord,
        times: IterationTimes,
        losses: Mapping[str, Any],
        iteration: int,
    ) -> Metrics:
        """The figures of an iteration.

        Args:
            record: what was played and paid.
            times: what it took.
            losses: the learners' results, by seat.
            iteration: its number, from 1.
        """
        paid = [rewards for seat in self.seats for rewards in record.rewards[seat]]
        turns = [turn for dialogue in record.dialogues for turn in dialogue.turns_of(self.seats)]
        variety = [self._track(record, seat, iteration) for seat in self.seats]
        # A seat that never had its turn has learned nothing and has no losses.
        learned = [losses[seat] for seat in self.seats if LOSSES[0] in losses.get(seat, {})]
        return {
            "dialogues": len(record.dialogues),
            "tokens": record.num_tokens,
            "tokens_per_s": record.num_tokens / times.sample_s,
            "env_steps_per_s": sum(len(dialogue.turns) for dialogue in record.dialogues)
            / (times.sample_s + times.learn_s),
            "sample_s": times.sample_s,
            "learn_s": times.learn_s,
            "outside_forward": record.outside_forward,
            "reward": mean_of("total", paid),
            **{name: mean_of(name, paid) for name in REWARD_PARTS},
            "anchor_kl": float(np.mean(list(record.kl_weights.values()))),
            "entropy": float(np.concatenate([turn.entropies for turn in turns]).mean()),
            **{name: _mean_over(variety, name) for name in variety[0] if name != "attractors"},
            "attractors": [phrase for figures in variety for phrase in figures["attractors"]],
            **{name: _mean_over(learned, name) for name in LOSSES},
            **({"opponent": record.opponent} if record.opponent else {}),
            **({"policies": self._by_seat(record)} if len(self.seats) > 1 else {}),
        }

    def state(self) -> State:
        """What a resumed run needs."""
        return {seat: tracker.state() for seat, tracker in self.trackers.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was called."""
        for seat, tracker in self.trackers.items():
            tracker.restore(state[seat])

    def _by_seat(self, record: IterationRecord) -> dict[str, dict[str, float]]:
        """What monitoring shows of each seat that has had its turn."""
        by_seat = {}
        for seat in self.seats:
            turns = [turn for dialogue in record.dialogues for turn in dialogue.turns_of([seat])]
            if turns:
                parts = {name: mean_of(name, record.rewards[seat]) for name in REWARD_PARTS}
                entropy = float(np.concatenate([turn.entropies for turn in turns]).mean())
                reward = mean_of("total", record.rewards[seat])
                by_seat[seat] = {"reward": reward, **parts, "entropy": entropy}
        return by_seat

    def _track(self, record: IterationRecord, seat: str, iteration: int) -> Metrics:
        turns = [turn for dialogue in record.dialogues for turn in dialogue.turns_of([seat])]
        end = self.task.settings.end_token
        replies = [turn.tokens[turn.tokens != end].tolist() for turn in turns]
        texts = self.task.tokenizer.batch_decode(replies) if replies else []
        return self.trackers[seat].update(iteration, replies, texts)


def _mean_over(tables: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([float(table[name]) for table in tables]))
