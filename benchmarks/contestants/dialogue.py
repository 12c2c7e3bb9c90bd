"""Who takes part in `benchmarks/dialogue_rollouts.py`: four ways to hold the same dialogues.

All hold them with one model in both seats, by the same rules and from the same openers, on one
torch thread a process. transformers' `generate` brings back tokens; parley also brings back
log-probabilities, entropies and the competitor's scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from parley.envs.dialogue.rules import DialogueSettings
from parley.platform.distort.player import DialoguePlayer, SeatModels
from parley.policies.dialogue.parts import build_from_parts, take_apart
from parley.policies.dialogue.sampling import Sampling
from parley.policies.dialogue.speaker import Speaker

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Work:
    """The dialogues to hold."""

    num_rows: int
    """Dialogues held together."""
    num_turns: int
    reply_tokens: int
    """Most tokens of a reply; where lengths are fixed, of every reply."""
    has_fixed_length: bool
    """The end token cannot be drawn, so that everyone draws equally much."""
    top_k: int
    end_token: int
    vocab_size: int
    context: int
    openers: Sequence[Tokens] = field(repr=False)
    """More than `num_rows` of them are taken in turn."""


@dataclass(frozen=True)
class Outcome:
    """What one contestant did."""

    num_tokens: int
    """Drawn, end tokens included."""
    seconds: float
    processor_s: float
    """Processor time of the processes that drew them: what counts on a machine that is shared."""
    forward_s: float = 0.0
    """In the models' forward passes; 0 where nobody looked."""


def generate_alone(model: PreTrainedModel, work: Work, numbers: Sequence[int]) -> Outcome:
    """One dialogue after the other, the history encoded anew in every turn."""
    return _clock(lambda: sum(_generate(model, work, [number]) for number in numbers))


def generate_together(model: PreTrainedModel, work: Work, numbers: Sequence[int]) -> Outcome:
    """All dialogues in one left-padded batch, the histories encoded anew in every turn."""
    return _clock(lambda: _generate(model, work, numbers))


def _clock(hold: Callable[[], int]) -> Outcome:
    """Clock what gives a number of tokens."""
    started, processor_started = time.perf_counter(), time.process_time()
    num_tokens = hold()
    return Outcome(
        num_tokens, time.perf_counter() - started, time.process_time() - processor_started
    )


@torch.inference_mode()
def _generate(model: PreTrainedModel, work: Work, numbers: Sequence[int]) -> int:
    """Hold dialogues by `model.generate`; the tokens drawn."""
    torch.manual_seed(numbers[0])
    histories = [[*work.openers[n % len(work.openers)].tolist(), work.end_token] for n in numbers]
    num_tokens = 0
    for _ in range(work.num_turns):
        longest = max(map(len, histories))
        paddings = [longest - len(history) for history in histories]
        tokens = torch.tensor(
            [[work.end_token] * p + h for p, h in zip(paddings, histories, strict=True)]
        )
        mask = torch.arange(longest) >= torch.tensor(paddings)[:, None]
        replies = model.generate(  # type: ignore[operator]
            tokens,
            attention_mask=mask.long(),
            max_new_tokens=work.reply_tokens,
            min_new_tokens=work.reply_tokens if work.has_fixed_length else None,
            do_sample=True,
            top_k=work.top_k,
            pad_token_id=work.end_token,
        )[:, longest:]
        for history, reply in zip(histories, replies.tolist(), strict=True):
            said = reply[: reply.index(work.end_token) + 1] if work.end_token in reply else reply
            num_tokens += len(said)
            history += said if said[-1] == work.end_token else [*said, work.end_token]
    return num_tokens


class ParleyPlayer:
    """parley in one process: the player that its env runners use.

    The distorter's replies are scored by the competitor, as in training.
    """

    def __init__(self, model: PreTrainedModel, work: Work) -> None:
        self.work = work
        fixed = work.reply_tokens if work.has_fixed_length else 0
        sampling = Sampling(
            top_k=work.top_k, max_reply_tokens=work.reply_tokens, min_reply_tokens=fixed
        )
        self.settings = DialogueSettings(
            seats=("competitor", "distorter"),
            max_turns=work.num_turns,
            max_reply_tokens=work.reply_tokens,
            window=work.context - work.reply_tokens,
            end_token=work.end_token,
            vocab_size=work.vocab_size,
        )
        competitor, distorter = (
            Speaker(model, work.end_token, work.num_rows, sampling) for _ in range(2)
        )
        seats = {"competitor": competitor, "distorter": distorter}
        self.cast = SeatModels(seats=seats, judge=competitor, starts={"distorter": competitor})

    def play(self, numbers: Sequence[int]) -> Outcome:
        """Hold the dialogues `numbers` in batches of `num_rows`."""
        before = self._forward_s()
        outcome = _clock(lambda: self._hold(numbers))
        return replace(outcome, forward_s=self._forward_s() - before)

    def _hold(self, numbers: Sequence[int]) -> int:
        player = DialoguePlayer(self.settings, self.cast, seed=0, purpose=0)
        num_tokens = 0
        for first in range(0, len(numbers), self.work.num_rows):
            batch = numbers[first : first + self.work.num_rows]
            openers = [self.work.openers[n % len(self.work.openers)] for n in batch]
            num_tokens += sum(d.num_tokens_drawn for d in player.play(batch, openers))
        return num_tokens

    def _forward_s(self) -> float:
        return sum(speaker.forward_s for speaker in self.cast.speakers)


@ray.remote(num_cpus=1)
class ParleyRunner:
    """A `ParleyPlayer` in a process of its own."""

    def __init__(self, config: Mapping[str, Any], state: Mapping[str, Any], work: Work) -> None:
        torch.set_num_threads(1)
        weights = {name: torch.tensor(array) for name, array in state.items()}
        self.player = ParleyPlayer(build_from_parts(config, weights), work)

    def play(self, numbers: Sequence[int]) -> Outcome:
        """See `ParleyPlayer.play`."""
        return self.player.play(numbers)


class ParleyRunners:
    """parley with several Ray actors that play at the same time."""

    def __init__(self, model: PreTrainedModel, work: Work, num_runners: int) -> None:
        parts = take_apart(model)
        state = ray.put({name: tensor.numpy() for name, tensor in parts.state.items()})
        self.runners = [
            ParleyRunner.remote(parts.config, state, work)  # type: ignore[attr-defined]
            for _ in range(num_runners)
        ]

    def play(self, numbers: Sequence[int]) -> Outcome:
        """Every runner plays as many dialogues as `numbers`; seconds by the caller's clock."""
        started = time.perf_counter()
        shares = [[n + place * len(numbers) for n in numbers] for place in range(len(self.runners))]
        outcomes: list[Outcome] = ray.get(
            [runner.play.remote(s) for runner, s in zip(self.runners, shares, strict=True)]
        )
        seconds = time.perf_counter() - started
        return Outcome(
            sum(o.num_tokens for o in outcomes),
            seconds,
            sum(o.processor_s for o in outcomes),
            sum(o.forward_s for o in outcomes),
        )

    def stop(self) -> None:
        """End the runners' processes."""
        for runner in self.runners:
            ray.kill(runner)
