"""Make a `TraceView`: let a model write, replay the trace, read its beliefs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from parley.envs.trace.hidden_markov import HiddenMarkov
from parley.envs.trace.language import IllegalStepError, IntArray, Language, Verdict
from parley.platform.trace.evaluation.execute import write_and_execute
from parley.platform.trace.viewing.view import Strip, TraceView
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM
from parley.policies.dhmm_gpt2.beliefs import read_beliefs


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
        is_exact=verdict.exact,
        verdict=_sentence(language, verdict),
        strips=[*_hidden_strips(language, given, tokens), *_belief_strips(model, tokens)],
    )


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
