"""One model that speaks in many dialogues at once.

Owns a model's turn: read what is new in the histories, score what others said, draw a reply for
every dialogue until all have ended. The reader owns the memory, `sampling` the draw, the caller the
histories and the random numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from parley.policies.dialogue.output_head import make_head
from parley.policies.dialogue.probing import context_of
from parley.policies.dialogue.reader_choice import choose_reader
from parley.policies.dialogue.reading import Ids, Reader
from parley.policies.dialogue.sampling import NO_TOKEN, Draw, Sampling, draw

_LOGITS_PER_CHUNK = 2**24
"""Logits held at once while histories are scored: 64 MiB."""


class NonFiniteLogitsError(ValueError):
    """A model gave logits that are not finite.

    Attributes:
        rows: the dialogues concerned.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = list(rows)
        super().__init__(
            f"the model's logits are not finite in dialogues {self.rows}: its weights are broken, "
            "most often by a learning rate that is too high; go back to an earlier checkpoint"
        )

    def __reduce__(self) -> tuple[type[NonFiniteLogitsError], tuple[list[int]]]:
        return type(self), (self.rows,)


@dataclass(frozen=True)
class Reply:
    """What the model said in one dialogue, and what it thought of it; n tokens."""

    tokens: NDArray[np.int32]
    """[n], n >= 1; the end token is the last one where the model drew it."""
    closed: bool
    """Whether the model drew the end token; otherwise the reply hit the limit."""
    log_probs: NDArray[np.float32]
    """[n], of the distribution drawn from."""
    full_log_probs: NDArray[np.float32]
    """[n], of the model at temperature 1, without truncation."""
    entropies: NDArray[np.float32]
    """[n], nats, of the distribution drawn from."""
    values: NDArray[np.float32] | None
    """[n], of the state before each token; None without a value head."""
    support: NDArray[np.int32] | None
    """[n, K], tokens that could be drawn, padded with -1; None where all could."""
    scored: NDArray[np.float32] | None
    """[score_last], the model's full log-probabilities of the last tokens of the history."""


class Speaker:
    """A frozen or trained model's voice in `num_rows` dialogues.

    What has been read is kept between turns and read only once, as long as a history grows. After
    the model's weights have changed, call `forget()`.

    Args:
        model: a causal language model; put into evaluation mode.
        end_token: closes a turn.
        num_rows: dialogues.
        sampling: how replies are drawn.
        value_head: hidden states [A, D] to values [A, 1] or [A].
        beginning: ids that the model reads before every history (BOS); no part of the dialogue.

    Attributes:
        context: the longest history and reply together, in tokens.
        total_s: seconds in `reply` and `score`.
        num_tokens: tokens drawn.

    Raises:
        ValueError: the model cannot speak (see `choose_reader`), or has no such end token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        end_token: int,
        num_rows: int,
        sampling: Sampling,
        value_head: nn.Module | None = None,
        beginning: Sequence[int] = (),
    ) -> None:
        model.eval()
        self.end_token = end_token
        self.num_rows = num_rows
        self.sampling = sampling
        context = context_of(model)
        self.context = context - len(beginning)
        self.total_s = 0.0
        self.num_tokens = 0
        self.reader: Reader = choose_reader(model, num_rows, context)
        self._beginning = np.array(beginning, np.int32)
        self._head_s = 0.0
        self._head = make_head(model)
        self._value_head = value_head
        self._device = model.device
        self._vocab_size = int(model.get_output_embeddings().weight.shape[0])
        if not 0 <= end_token < self._vocab_size:
            raise ValueError(
                f"end_token must be below the model's vocabulary of {self._vocab_size}, "
                f"got {end_token}"
            )
        if num_rows < 1:
            raise ValueError(f"num_rows must be >= 1, got {num_rows}")

    @property
    def forward_s(self) -> float:
        """Seconds in the model's forward passes, output heads included."""
        return self.reader.forward_s + self._head_s

    @torch.inference_mode()
    def reply(
        self,
        rows: Sequence[int],
        histories: Sequence[Ids],
        uniforms: NDArray[np.float64],
        score_last: Sequence[int] | None = None,
    ) -> list[Reply]:
        """A reply in each of the dialogues `rows`.

        Args:
            rows: R different numbers below `num_rows`; a dialogue keeps its number.
            histories: for each, all token ids that the model sees, ending in the end token.
            uniforms: [R, max_reply_tokens] in [0, 1); the j-th draws the j-th token.
            score_last: for each, how many last tokens of the history to score.

        Raises:
            ValueError: arguments that do not fit, or a history that leaves no room for a reply.
            NonFiniteLogitsError: see there; the speaker has forgotten everything then.
        """
        started = time.perf_counter()
        limit = self.sampling.max_reply_tokens
        if uniforms.shape != (len(rows), limit):
            raise ValueError(
                f"uniforms must have the shape (rows, max_reply_tokens) = {(len(rows), limit)}, "
                f"got {uniforms.shape}"
            )
        self._check(rows, histories, room=limit)
        hidden, scored = self._read(rows, histories, score_last)
        draws = self._speak(rows, hidden, torch.from_numpy(uniforms).to(self._device))
        replies = self._to_replies(rows, draws, scored)
        self.num_tokens += sum(len(reply.tokens) for reply in replies)
        self.total_s += time.perf_counter() - started
        return replies

    @torch.inference_mode()
    def score(
        self, rows: Sequence[int], histories: Sequence[Ids], score_last: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        """The model's log-probabilities of the last `score_last[i]` tokens of each history.

        As `reply` without a reply; what was read is kept.
        """
        started = time.perf_counter()
        self._check(rows, histories, room=0)
        _, scored = self._read(rows, histories, score_last)
        self.total_s += time.perf_counter() - started
        assert scored is not None
        return scored

    @torch.inference_mode()
    def compare(
        self,
        other: Speaker,
        rows: Sequence[int],
        histories: Sequence[Ids],
        compare_last: Sequence[int],
    ) -> list[NDArray[np.float32]]:
        """KL(this model, the other) before each of the last `compare_last[i]` tokens, in nats.

        Over the whole vocabulary at temperature 1, whatever the sampling; what was read is kept.

        Args:
            other: of the same vocabulary, with as many rows.
            rows, histories: as in `score`.
            compare_last: for each, how many last tokens of the history to compare at.
        """
        hidden = []
        for speaker in (self, other):
            speaker._check(rows, histories, room=0)
            hidden.append(speaker.reader.read(rows, histories, compare_last)[1])
        divergences = np.zeros(len(hidden[0]), np.float32)
        size = max(1, _LOGITS_PER_CHUNK // self._vocab_size)
        for start in range(0, len(divergences), size):
            part = slice(start, start + size)
            own, its = (
                speaker._logits(states[part]).float().log_softmax(dim=-1)
                for speaker, states in zip((self, other), hidden, strict=True)
            )
            terms = (own.exp() * (own - its)).masked_fill(own == -torch.inf, 0.0)
            # No divergence is negative; rounding is.
            divergences[part] = terms.sum(dim=-1).clamp(min=0.0).cpu().numpy()
        return np.split(divergences, np.cumsum(compare_last)[:-1])

    def forget(self, rows: Sequence[int] | None = None) -> None:
        """Keep nothing of these dialogues; None: of any, and give the memory back."""
        if rows is None:
            self.reader.release()
        else:
            self.reader.forget(rows)

    def _check(self, rows: Sequence[int], histories: Sequence[Ids], room: int) -> None:
        if len(rows) == 0 or len(rows) != len(histories):
            raise ValueError(f"{len(rows)} rows and {len(histories)} histories: one for each row")
        if len(set(rows)) != len(rows) or not 0 <= min(rows) <= max(rows) < self.num_rows:
            raise ValueError(
                f"rows must be different numbers below num_rows = {self.num_rows}, got {list(rows)}"
            )
        for row, history in zip(rows, histories, strict=True):
            if len(history) == 0 or history[-1] != self.end_token:
                raise ValueError(
                    f"the history of dialogue {row} must end in the end token {self.end_token}, "
                    f"got {list(history[-3:])} at its end"
                )
            if len(history) + room > self.context:
                raise ValueError(
                    f"the history of dialogue {row} has {len(history)} tokens and a reply up to "
                    f"{room}, more than the model's context of {self.context}: drop turns from "
                    "its front or lower max_reply_tokens"
                )
            low, high = int(np.min(history)), int(np.max(history))
            if low < 0 or high >= self._vocab_size:
                raise ValueError(
                    f"the history of dialogue {row} holds token {low if low < 0 else high}, but "
                    f"the model's vocabulary has {self._vocab_size}: is it another tokenizer's?"
                )

    def _read(
        self, rows: Sequence[int], histories: Sequence[Ids], score_last: Sequence[int] | None
    ) -> tuple[Tensor, list[NDArray[np.float32]] | None]:
        """Hidden states [R, D] at the ends of the histories, and the scores asked for."""
        histories = [np.concatenate([self._beginning, history]) for history in histories]
        counts = [0] * len(rows) if score_last is None else [int(n) for n in score_last]
        for row, history, count in zip(rows, histories, counts, strict=True):
            if not 0 <= count < len(history):
                raise ValueError(
                    f"score_last must be between 0 and {len(history) - 1} for dialogue {row} "
                    f"(nothing predicts the first token of a history), got {count}"
                )
        last, predicting = self.reader.read(rows, histories, counts)
        if score_last is None:
            return last, None
        targets = np.concatenate([h[len(h) - n :] for h, n in zip(histories, counts, strict=True)])
        scores = self._score(predicting, torch.from_numpy(targets.astype(np.int64)))
        of_row = np.repeat(np.array(rows), counts)
        self._require_finite(np.isfinite(scores), of_row)
        return last, np.split(scores, np.cumsum(counts)[:-1])

    def _score(self, hidden: Tensor, targets: Tensor) -> NDArray[np.float32]:
        """Log-probabilities [N] of targets [N] from the hidden states [N, D] before them."""
        scores = np.zeros(len(targets), np.float32)
        size = max(1, _LOGITS_PER_CHUNK // self._vocab_size)
        targets = targets.to(self._device)
        for start in range(0, len(targets), size):
            part = slice(start, start + size)
            log_probs = self._logits(hidden[part]).float().log_softmax(dim=-1)
            scores[part] = log_probs.gather(1, targets[part, None]).squeeze(1).cpu().numpy()
        return scores

    def _logits(self, hidden: Tensor) -> Tensor:
        started = time.perf_counter()
        logits: Tensor = self._head(hidden)
        self._head_s += time.perf_counter() - started
        return logits

    def _speak(self, rows: Sequence[int], hidden: Tensor, uniforms: Tensor) -> list[_Step]:
        """Draw until all rows have ended; hidden [R, D] stands at the ends of the histories."""
        speaking = self.reader.start(rows)  # places in `rows`
        places = torch.from_numpy(speaking).to(self._device)
        hidden, uniforms = hidden[places], uniforms[places]
        steps: list[_Step] = []
        while True:
            forbidden = self.end_token if len(steps) < self.sampling.min_reply_tokens else None
            chosen = draw(self._logits(hidden), uniforms[:, len(steps)], self.sampling, forbidden)
            values = self._value_head(hidden) if self._value_head is not None else None
            steps.append(_Step(speaking, chosen, values))
            tokens = chosen.tokens
            still = tokens.cpu().numpy() != self.end_token
            if len(steps) == self.sampling.max_reply_tokens or not still.any():
                return steps
            if not still.all():
                kept = self.reader.narrow(still)
                speaking = speaking[kept]
                places = torch.from_numpy(kept).to(self._device)
                tokens, uniforms = tokens[places], uniforms[places]
            hidden = self.reader.step(tokens)

    def _to_replies(
        self,
        rows: Sequence[int],
        steps: Sequence[_Step],
        scored: Sequence[NDArray[np.float32]] | None,
    ) -> list[Reply]:
        """The tokens of all steps, sorted by row."""
        of_token = np.concatenate([step.speaking for step in steps])
        order = np.argsort(of_token, kind="stable")
        ends = [0, *np.cumsum(np.bincount(of_token)).tolist()]

        def split(parts: Sequence[Tensor], dtype: type[Any]) -> list[NDArray[Any]]:
            together = torch.cat(list(parts)).cpu().numpy()[order].astype(dtype, copy=False)
            return [together[start:end] for start, end in pairwise(ends)]

        full_log_probs = split([step.chosen.full_log_probs for step in steps], np.float32)
        if not all(np.isfinite(of_row).all() for of_row in full_log_probs):
            for step in steps:  # what a broken row drew is chance: only the first to break count
                is_finite = step.chosen.full_log_probs.isfinite().cpu().numpy()
                self._require_finite(is_finite, np.array(rows)[step.speaking])
        tokens = split([step.chosen.tokens for step in steps], np.int32)
        log_probs = split([step.chosen.log_probs for step in steps], np.float32)
        entropies = split([step.chosen.entropies for step in steps], np.float32)
        values = [step.values.flatten().float() for step in steps if step.values is not None]
        supports = _pad_supports([step.chosen for step in steps])
        of_values = split(values, np.float32) if values else None
        of_supports = split(supports, np.int32) if supports else None
        return [
            Reply(
                tokens=tokens[i],
                closed=bool(tokens[i][-1] == self.end_token),
                log_probs=log_probs[i],
                full_log_probs=full_log_probs[i],
                entropies=entropies[i],
                values=of_values[i] if of_values else None,
                support=of_supports[i] if of_supports else None,
                scored=scored[i] if scored else None,
            )
            for i in range(len(rows))
        ]

    def _require_finite(self, is_finite: NDArray[np.bool_], rows: NDArray[np.int64]) -> None:
        if not is_finite.all():
            self.forget()
            raise NonFiniteLogitsError(sorted({int(row) for row in rows[~is_finite]}))


@dataclass(frozen=True)
class _Step:
    """A token of every dialogue that still speaks."""

    speaking: NDArray[np.int64]
    """[A], which of the rows asked for."""
    chosen: Draw
    values: Tensor | None
    """[A] or [A, 1]."""


def _pad_supports(draws: Sequence[Draw]) -> list[Tensor]:
    """The supports [A, K] of all steps with the same K; none where none was recorded.

    A row of padding alone stands for a draw from all tokens.
    """
    width = max((d.support.shape[1] for d in draws if d.support is not None), default=0)
    if width == 0:
        return []
    padded = []
    for chosen in draws:
        support = chosen.support
        if support is None:
            support = chosen.tokens.new_empty(len(chosen.tokens), 0)
        missing = width - support.shape[1]
        padded.append(F.pad(support, (0, missing), value=NO_TOKEN) if missing else support)
    return padded
