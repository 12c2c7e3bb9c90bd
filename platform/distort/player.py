"""Holds dialogues in batches: one generation call per seat and turn over all of them.

All dialogues of a batch are at the same turn, so the same seat speaks in all that are not over.
The judge scores a trained seat's reply in the very pass that it needs for its own next one; where
it does not speak next, the talk is over, or the window has moved on, it reads the reply in a pass
of its own. All scores of a reply are given the history that its speaker saw. Dialogue number g
draws from a stream of (seed, purpose, g) alone: neither the batch nor the number of
processes changes what is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from parley.envs.dialogue.rules import Dialogue, DialogueSettings
from parley.platform.distort.record import PlayedDialogue, PlayedTurn, PlayFault
from parley.policies.dialogue.speaker import NonFiniteLogitsError, Reply, Speaker

Tokens = NDArray[np.int32]

TRAINING, EVALUATION, CALIBRATION = 0, 1, 2
"""What dialogues are for; each purpose has random streams of its own."""


@dataclass(frozen=True)
class SeatModels:
    """Who sits where in a batch of dialogues.

    A model may appear several times: one that judges and speaks is one `Speaker`.
    """

    seats: Mapping[str, Speaker]
    judge: Speaker
    """Scores the trained seats' replies."""
    starts: Mapping[str, Speaker]
    """Trained seat -> the model that it started as."""

    @property
    def speakers(self) -> list[Speaker]:
        """Every model once."""
        found = [*self.seats.values(), self.judge, *self.starts.values()]
        return list({id(speaker): speaker for speaker in found}.values())


class FaultyModelError(RuntimeError):
    """A model gave logits that are not finite; `fault` tells where."""

    def __init__(self, fault: PlayFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class DialoguePlayer:
    """Plays batches of dialogues to their ends.

    Args:
        settings: the rules.
        models: one a seat; each with room for as many rows as a batch has dialogues.
        seed: of the run.
        purpose: `TRAINING`, `EVALUATION` or `CALIBRATION`.
    """

    def __init__(
        self, settings: DialogueSettings, models: SeatModels, seed: int, purpose: int
    ) -> None:
        self.settings = settings
        self.models = models
        self._stream = (seed, purpose)

    def play(self, numbers: Sequence[int], openers: Sequence[Tokens]) -> list[PlayedDialogue]:
        """Hold the dialogues `numbers`, which begin with `openers`, together.

        Raises:
            FaultyModelError: a model's logits are not finite numbers.
        """
        batch = _Batch(self.settings, self.models, numbers, openers, self._stream)
        for speaker in self.models.speakers:
            speaker.forget(range(len(numbers)))
        while batch.live:
            batch.take_turn()
        return batch.finish()

    def compare_with_start(self, dialogues: Sequence[PlayedDialogue]) -> None:
        """Note in a batch just played how far the trained seats are from where they started.

        Two more passes over all that they said; what is noted is in `PlayedTurn.divergences`.
        """
        for seat, start in self.models.starts.items():
            replies = [
                [(row, dialogue, turn) for turn in dialogue.turns_of([seat])]
                for row, dialogue in enumerate(dialogues)
            ]
            for together in zip_longest(*replies):
                spoken = [reply for reply in together if reply is not None]
                ends = [turn.start + _tail_length(turn) for _, _, turn in spoken]
                divergences = self.models.seats[seat].compare(
                    start,
                    [row for row, _, _ in spoken],
                    [
                        dialogue.tokens[turn.history_start : end]
                        for (_, dialogue, turn), end in zip(spoken, ends, strict=True)
                    ],
                    [_tail_length(turn) for _, _, turn in spoken],
                )
                for (_, _, turn), found in zip(spoken, divergences, strict=True):
                    turn.divergences = found[: len(turn.tokens)]


class _Batch:
    """The state of one batch between turns; rows number its dialogues."""

    def __init__(
        self,
        settings: DialogueSettings,
        models: SeatModels,
        numbers: Sequence[int],
        openers: Sequence[Tokens],
        stream: tuple[int, int],
    ) -> None:
        self.settings = settings
        self.models = models
        self.games = [Dialogue(settings, opener) for opener in openers]
        self.played = [
            PlayedDialogue(number, np.asarray(opener, np.int32), np.empty(0, np.int32))
            for number, opener in zip(numbers, openers, strict=True)
        ]
        self.generators = [np.random.default_rng([*stream, number]) for number in numbers]
        self.live = list(range(len(numbers)))
        self.unjudged: dict[int, PlayedTurn] = {}
        """Row -> the reply that the judge scores when it speaks next."""

    def take_turn(self) -> None:
        """Let the next seat reply in every live dialogue, and have the replies scored."""
        seat = self.games[self.live[0]].next_seat
        rows = self.live
        replies = self._draw_replies(seat, rows)
        for row, reply in zip(rows, replies, strict=True):
            self._note(row, seat, reply)
        self.live = [row for row in rows if not self.games[row].over]
        if seat in self.models.starts:
            self._score(seat, rows)

    def finish(self) -> list[PlayedDialogue]:
        """The dialogues as records."""
        judged = [seat for seat, start in self.models.starts.items() if start is self.models.judge]
        for game, played in zip(self.games, self.played, strict=True):
            for turn in played.turns_of(judged):
                turn.start_log_probs = turn.judge_log_probs
            played.tokens = game.full_history().tokens
            played.terminated, played.truncated = game.terminated, game.truncated
        return self.played

    def _draw_replies(self, seat: str, rows: list[int]) -> list[Reply]:
        speaker = self.models.seats[seat]
        uniforms = np.stack(
            [self.generators[row].random(self.settings.max_reply_tokens) for row in rows]
        )
        histories = [self.games[row].history().tokens for row in rows]
        waiting = self.unjudged if speaker is self.models.judge else {}
        score_last = [_tail_length(waiting[row]) if row in waiting else 0 for row in rows]
        try:
            replies = speaker.reply(rows, histories, uniforms, score_last)
        except NonFiniteLogitsError as error:
            raise self._fault(seat, error) from error
        for row, reply in zip(rows, replies, strict=True):
            if row in waiting:
                assert reply.scored is not None, "scores were asked for"
                waiting[row].judge_log_probs = reply.scored[: len(waiting[row].tokens)]
        waiting.clear()
        return replies

    def _note(self, row: int, seat: str, reply: Reply) -> None:
        game = self.games[row]
        start = game.num_tokens
        turn = PlayedTurn(
            seat=seat,
            history_start=start - len(game.history().tokens),
            start=start,
            tokens=reply.tokens,
            closed=reply.closed,
            log_probs=reply.log_probs,
            full_log_probs=reply.full_log_probs,
            entropies=reply.entropies,
            values=reply.values,
            support=reply.support,
        )
        game.say(reply.tokens)
        self.played[row].turns.append(turn)

    def _score(self, seat: str, rows: list[int]) -> None:
        """Have the replies of a trained seat read by its starting point and by the judge."""
        turns = {row: self.played[row].turns[-1] for row in rows}
        start, judge = self.models.starts[seat], self.models.judge
        if start is not judge:
            for row, scores in self._read(start, seat, turns):
                turns[row].start_log_probs = scores
        judge_speaks_next = bool(self.live) and (
            self.models.seats[self.games[self.live[0]].next_seat] is judge
        )
        waiting = [
            row for row in self.live if judge_speaks_next and self._sees_all(turns[row], row)
        ]
        self.unjudged = {row: turns[row] for row in waiting}
        now = {row: turn for row, turn in turns.items() if row not in self.unjudged}
        for row, scores in self._read(judge, self._judge_name, now):
            turns[row].judge_log_probs = scores

    def _sees_all(self, turn: PlayedTurn, row: int) -> bool:
        """Whether the window still holds all that the speaker of the newest turn saw."""
        game = self.games[row]
        return game.num_tokens - len(game.history().tokens) == turn.history_start

    def _read(
        self, speaker: Speaker, seat: str, turns: Mapping[int, PlayedTurn]
    ) -> list[tuple[int, NDArray[np.float32]]]:
        """The log-probabilities [n] of each row's newest reply under `speaker`."""
        if not turns:
            return []
        rows = list(turns)
        histories = [
            self.games[row].full_history().tokens[turns[row].history_start :] for row in rows
        ]
        lengths = [_tail_length(turns[row]) for row in rows]
        try:
            scores = speaker.score(rows, histories, lengths)
        except NonFiniteLogitsError as error:
            raise self._fault(seat, error) from error
        return [
            (row, score[: len(turns[row].tokens)]) for row, score in zip(rows, scores, strict=True)
        ]

    @property
    def _judge_name(self) -> str:
        seats, judge = self.models.seats, self.models.judge
        names = [name for name, speaker in seats.items() if speaker is judge]
        return names[0] if names else "judge"

    def _fault(self, seat: str, error: NonFiniteLogitsError) -> FaultyModelError:
        struck = [row for row in error.rows if row < len(self.played)] or self.live
        played = self.finish()
        turn = self.games[struck[0]].num_replies
        return FaultyModelError(PlayFault(seat, turn, str(error), [played[row] for row in struck]))


def _tail_length(turn: PlayedTurn) -> int:
    """Tokens from the reply's first to the history's end, an end token put in by the rules too."""
    return len(turn.tokens) + (not turn.closed)
