"""One trace to look at: what a model wrote beside the true trace, what its execution showed, and
what the model believed at every token.

Plain data, which a run keeps as JSON; `trace_layout`, `trace_page` and `trace_picture` show it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from parley.envs.trace.hidden_markov import HiddenMarkov
from parley.envs.trace.language import IllegalStepError, IntArray, Language, Verdict
from parley.platform.evaluation.trace_scores import write_and_execute
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM
from parley.policies.dhmm_gpt2.beliefs import read_beliefs


@dataclass(frozen=True)
class Strip:
    """A distribution over states at every token, in short."""

    name: str
    num_states: int
    """How many there are."""
    states: list[int]
    """The likeliest state after each token; a token without one has -1."""
    shares: list[float]
    """Its probability."""


@dataclass(frozen=True)
class TraceView:
    """A trace of T written and U true tokens; of a source both are the same trace, which was read
    and not written."""

    language: str
    size: int
    is_source: bool
    num_given: int
    """Tokens of the prompt."""
    written: list[str]
    """T names."""
    true: list[str]
    """U names."""
    states: list[str]
    """T texts: the executor's state after each written token that is legal; empty in the prompt
    and from the first illegal token on."""
    illegal_at: int | None
    verdict: str
    """What executing the trace has shown, in a sentence."""
    strips: list[Strip]

    @property
    def num_places(self) -> int:
        """Places of the longer of both traces."""
        return max(len(self.written), len(self.true))

    @property
    def num_states(self) -> int:
        """States of the strip that has the most; 0 without strips."""
        return max((strip.num_states for strip in self.strips), default=0)

    def differs(self, place: int) -> bool:
        """Whether the model wrote something else than the true token, or one of them is missing."""
        return self.written[place : place + 1] != self.true[place : place + 1]

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `to_json` gave.

        Raises:
            ValueError: the values are those of something else.
        """
        try:
            strips = [Strip(**strip) for strip in values["strips"]]
            return cls(**{**values, "strips": strips})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a watched trace: {error}") from error


def view_trace(
    model: DHMMGPT2ForCausalLM, language: Language, size: int, given: IntArray, seed: int = 0
) -> TraceView:
    """Let a model write the trace of one input, or read it where the language is a source.

    Args:
        model: in evaluation mode.
        language: its language.
        size: of the input.
        given: int64 [K], the input.
        seed: unused where tokens are not drawn.
    """
    traces = language.write_traces(size, given[None])
    true = traces.tokens[0, : int(traces.lengths[0])]
    if language.is_source:
        tokens, verdict = true, language.verify(size, given, true)
    else:
        longest = language.num_tokens(size)
        written = write_and_execute(model, language, size, given[None], seed, longest)
        tokens, verdict = written.tokens[0], written.verdicts[0]
    return TraceView(
        language=language.name,
        size=size,
        is_source=language.is_source,
        num_given=traces.prompt_length,
        written=_names(language, tokens),
        true=_names(language, true),
        states=_replay(language, size, given, tokens, traces.prompt_length),
        illegal_at=verdict.illegal_at,
        verdict=_sentence(language, verdict),
        strips=[*_hidden_strips(language, given, tokens), *_belief_strips(model, tokens)],
    )


def read_view(path: Path) -> TraceView | None:
    """A trace that a run has kept; None where there is none, or it is damaged."""
    try:
        return TraceView.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _names(language: Language, tokens: IntArray) -> list[str]:
    return [language.spell([token]) for token in tokens.tolist()]


def _replay(
    language: Language, size: int, given: IntArray, tokens: IntArray, num_given: int
) -> list[str]:
    """The executor's state after every token; see `TraceView.states`."""
    executor = language.executor(size, given)
    states = [""] * len(tokens)
    for place in range(num_given, len(tokens)):
        if executor.ended:
            break
        try:
            executor.feed(int(tokens[place]))
        except IllegalStepError:
            break
        states[place] = str(executor)
    return states


def _sentence(language: Language, verdict: Verdict) -> str:
    if language.is_source:
        return f"read, not written: {language.name} is a random source without a right answer"
    answer = " ".join(map(str, verdict.answer or ()))
    if verdict.exact:
        return f"exact: executing it gives {answer}"
    if verdict.illegal_at is not None:
        return f"illegal at token {verdict.illegal_at}: {verdict.reason}"
    return f"not exact: {verdict.reason}"


def _belief_strips(model: DHMMGPT2ForCausalLM, tokens: IntArray) -> list[Strip]:
    """A strip for each head of each filter."""
    layers = read_beliefs(model, torch.from_numpy(tokens[None]).to(model.device))
    strips = []
    for layer, beliefs in layers.items():  # [1, T, heads, S]
        for head, belief in enumerate(beliefs[0].float().cpu().unbind(1)):
            counters = model.config.counter_heads
            kind = f"counter {head}" if head < counters else f"filter {head - counters}"
            strips.append(_strip(f"layer {layer} {kind}", belief.numpy()))
    return strips


def _hidden_strips(language: Language, given: IntArray, tokens: IntArray) -> list[Strip]:
    """The true hidden states of a hidden Markov source and what the optimal filter says of them."""
    if not isinstance(language, HiddenMarkov):
        return []
    states = language.hidden_states(given[None])[0].tolist()
    ends = len(tokens) - 1 - len(states)
    hidden = Strip(
        "hidden state",
        language.num_states,
        [-1, *states, *[-1] * ends],
        [0.0, *[1.0] * len(states), *[0.0] * ends],
    )
    return [hidden, _strip("optimal filter", language.filtered_states(tokens[None])[0])]


def _strip(name: str, beliefs: np.ndarray[Any, Any]) -> Strip:
    """From distributions [T, S]."""
    return Strip(
        name,
        beliefs.shape[1],
        beliefs.argmax(1).tolist(),
        [round(share, 3) for share in beliefs.max(1).tolist()],
    )
