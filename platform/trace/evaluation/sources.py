"""What a model has learned of a random source: its chain, or what its beliefs say of hidden states.

The true parameters are known here, and only here: a model sees nothing but symbols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from parley.envs.trace.hidden_markov import HiddenMarkov
from parley.envs.trace.language import FloatArray, IntArray, Language
from parley.envs.trace.markov import Markov
from parley.envs.trace.source import FIRST_SYMBOL
from parley.platform.records import Metrics
from parley.platform.report.intervals import bootstrap_rate_interval, unit_share_interval
from parley.platform.trace.evaluation.execute import read_log_probs, split_rows
from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM
from parley.policies.dhmm_gpt2.beliefs import read_beliefs

PROBE_SYMBOLS = 20_000
"""At most about so many symbols fit the probe."""
PROBE_INVERSE_PENALTY = 100.0
"""scikit-learn's C: beliefs lie between 0 and 1, so that a sharp reading needs large weights."""


def describe_source(
    model: DHMMGPT2ForCausalLM,
    language: Language,
    inputs: Mapping[int, IntArray],
    main_size: int,
    batch_tokens: int,
) -> Metrics:
    """The figures that only a source of this kind has; none of most languages.

    Args:
        model: in evaluation mode.
        language: any.
        inputs: size to held-out inputs.
        main_size: the size of `inputs` that was trained.
        batch_tokens: tokens that are read together.
    """
    if isinstance(language, Markov) and main_size > 1:
        given = inputs[main_size]
        return compare_chain(model, language, main_size, given, batch_tokens).metrics(language)
    if isinstance(language, HiddenMarkov):
        return track_hidden_states(model, language, inputs, main_size, batch_tokens)
    return {}


@dataclass(frozen=True)
class ChainDivergence:
    """How far a model's next-state distributions are from the true chain's, N walks, S states."""

    kl_sums: FloatArray
    """float64 [N, S]: KL(true || model) in nats, summed over the contexts that end in a state."""
    counts: FloatArray
    """float64 [N, S]: how many contexts these are."""
    expected: FloatArray
    """float64 [S, S]: row s holds what the model expects after state s, averaged over contexts."""

    @property
    def by_state(self) -> FloatArray:
        """Mean over the contexts that end in each state, float64 [S]."""
        means: FloatArray = self.kl_sums.sum(0) / self.counts.sum(0)
        return means

    def interval(self, state: int) -> tuple[float, float]:
        """95 % interval of a state's mean, over walks that visit it."""
        visits = self.counts[:, state] > 0
        return bootstrap_rate_interval(self.kl_sums[visits, state], self.counts[visits, state])

    def metrics(self, language: Markov) -> Metrics:
        """`kl_per_state` is the plain mean over states, `kl_per_state_max` the worst one's."""
        states = [language.spell([FIRST_SYMBOL + state]) for state in range(language.num_symbols)]
        seen = [state for state in range(len(states)) if self.counts[:, state].any()]
        by_state = {states[state]: float(self.by_state[state]) for state in seen}
        return {
            "kl_per_state": float(np.mean(list(by_state.values()))),
            "kl_per_state_max": max(by_state.values()),
            "kl_by_state": by_state,
            "kl_by_state_ci95": {states[state]: list(self.interval(state)) for state in seen},
            "next_state_by_state": {
                states[state]: dict(zip(states, self.expected[state].tolist(), strict=True))
                for state in seen
            },
        }


def compare_chain(
    model: torch.nn.Module, language: Markov, size: int, inputs: IntArray, batch_tokens: int
) -> ChainDivergence:
    """Read walks and compare what the model expects after every state with the true chain.

    What the model gives to tokens that are no states counts against it.

    Args:
        model: int64 [B, T] to an output with `logits` [B, T, V].
        language: with the true chain.
        size: states of a walk, at least 2.
        inputs: int64 [N, size], walks.
        batch_tokens: tokens that are read together.
    """
    true = language.transition_matrix()  # [S, S]
    entropies = -np.where(true > 0, true * np.log(np.where(true > 0, true, 1.0)), 0.0).sum(1)
    tokens = language.write_traces(size, inputs).tokens
    states = inputs[:, : size - 1]  # behind the last state there is no label
    kl = np.empty(states.shape)
    expected = np.zeros(true.shape)
    for part in split_rows(len(inputs), size, batch_tokens):
        log_probs = read_log_probs(model, tokens[part, :size])[:, 1:, FIRST_SYMBOL:].numpy()
        cross_entropies = -(true[states[part]] * log_probs).sum(-1)
        kl[part] = cross_entropies - entropies[states[part]]
        np.add.at(expected, states[part], np.exp(log_probs))
    is_state = states[:, :, None] == np.arange(len(true))  # [N, T, S]
    counts = is_state.sum(1).astype(float)
    expected /= counts.sum(0).clip(1.0)[:, None]
    return ChainDivergence((kl[:, :, None] * is_state).sum(1), counts, expected)


class BeliefProbe:
    """A linear reading of a model's beliefs: which hidden state is the source in?

    A multinomial logistic regression on the beliefs of all filters after each symbol.

    Args:
        model: with at least one filter, in evaluation mode.
        language: the source.
        size: symbols of a trace.
        inputs: int64 [N, 2 * size], to fit on.
        batch_tokens: tokens that are read together.
    """

    def __init__(
        self,
        model: DHMMGPT2ForCausalLM,
        language: HiddenMarkov,
        size: int,
        inputs: IntArray,
        batch_tokens: int,
    ) -> None:
        from sklearn.linear_model import LogisticRegression

        self.model, self.language, self.batch_tokens = model, language, batch_tokens
        used = inputs[: max(1, PROBE_SYMBOLS // size)]
        beliefs = self._read(size, used)
        self.regression = LogisticRegression(C=PROBE_INVERSE_PENALTY, max_iter=1_000)
        self.regression.fit(
            beliefs.reshape(-1, beliefs.shape[-1]), language.hidden_states(used).ravel()
        )

    def count_right(self, size: int, inputs: IntArray) -> IntArray:
        """For each of inputs int64 [N, 2 * size] how many states are read right, int64 [N]."""
        beliefs = self._read(size, inputs)
        found = self.regression.predict(beliefs.reshape(-1, beliefs.shape[-1]))
        states = self.language.hidden_states(inputs)
        right: IntArray = (found.reshape(states.shape) == states).sum(1)
        return right

    def _read(self, size: int, inputs: IntArray) -> NDArray[np.float32]:
        """Beliefs float32 [N, size, all heads' states] after each symbol."""
        tokens = torch.from_numpy(self.language.write_traces(size, inputs).tokens[:, : size + 1])
        parts = []
        for part in split_rows(len(inputs), size + 1, self.batch_tokens):
            layers = read_beliefs(self.model, tokens[part].to(self.model.device))
            joined = torch.cat([belief.flatten(2) for belief in layers.values()], dim=-1)
            parts.append(joined[:, 1:].float().cpu().numpy())
        return np.concatenate(parts)


def track_hidden_states(
    model: DHMMGPT2ForCausalLM,
    language: HiddenMarkov,
    inputs: Mapping[int, IntArray],
    fit_size: int,
    batch_tokens: int,
) -> Metrics:
    """Shares of the hidden states that the model's beliefs and the optimal filter get right.

    The probe is fitted on half of the traces of `fit_size` and tested on the other half, and on
    all of the other sizes. `belief_accuracy` is None for a model without filters,
    `base_rate` the share of the most frequent state at `fit_size`.
    """
    filters = model.config.filter_layers if model.config.num_filter_heads else ()
    half = len(inputs[fit_size]) // 2
    tested = {**inputs, fit_size: inputs[fit_size][half:]}
    metrics: Metrics = {"belief_accuracy": None}
    if filters and half:
        probe = BeliefProbe(model, language, fit_size, inputs[fit_size][:half], batch_tokens)
        right = {size: probe.count_right(size, given) for size, given in tested.items()}
        metrics = _accuracies("belief_accuracy", right, fit_size)
    best = {size: _count_filter(language, size, given) for size, given in tested.items()}
    frequencies = np.bincount(language.hidden_states(tested[fit_size]).ravel())
    return {
        **metrics,
        **_accuracies("optimal_filter_accuracy", best, fit_size),
        "base_rate": float(frequencies.max() / frequencies.sum()),
    }


def _count_filter(language: HiddenMarkov, size: int, inputs: IntArray) -> IntArray:
    """For each input how many states the optimal filter's likeliest one gets right, int64 [N]."""
    tokens = language.write_traces(size, inputs).tokens
    found = language.filtered_states(tokens)[:, 1 : size + 1].argmax(-1)
    right: IntArray = (found == language.hidden_states(inputs)).sum(1)
    return right


def _accuracies(name: str, right: Mapping[int, IntArray], fit_size: int) -> Metrics:
    """Shares by size with intervals over traces; the overall figure is that of `fit_size`."""
    sizes = sorted(right)
    shares = {size: float(right[size].mean() / size) for size in sizes}
    intervals = {
        size: list(unit_share_interval(right[size], np.full(len(right[size]), size)))
        for size in sizes
    }
    return {
        name: shares[fit_size],
        f"{name}_ci95": intervals[fit_size],
        f"{name}_by_length": shares,
        f"{name}_by_length_ci95": intervals,
    }
