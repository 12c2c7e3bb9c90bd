"""Random sources: the true chain and the optimal filter score zero, and nobody scores less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from parley.envs.trace.hidden_markov import HiddenMarkov
from parley.envs.trace.language import IntArray
from parley.envs.trace.markov import Markov
from parley.envs.trace.source import FIRST_SYMBOL
from parley.platform.trace.evaluation import sources as trace_sources
from parley.platform.trace.evaluation.execute import score_labels
from parley.platform.trace.evaluation.measure import TraceTask, measure
from parley.platform.trace.evaluation.sources import compare_chain, track_hidden_states
from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.building import build_policy
from tests.platform.trace.trace_fixtures import Reader, make_config

SIZE, COUNT = 24, 60


def know_chain(language: Markov) -> Reader:
    """A model whose next-token probabilities are the true chain's."""
    table = np.zeros((language.vocab_size, language.vocab_size))
    table[:FIRST_SYMBOL, FIRST_SYMBOL:] = language.start_distribution()
    table[FIRST_SYMBOL:, FIRST_SYMBOL:] = language.transition_matrix()
    return Reader(lambda tokens: table[tokens])


def know_filter(language: HiddenMarkov) -> Reader:
    """A model that predicts by the optimal filter."""

    def predict(tokens: IntArray) -> np.ndarray[Any, Any]:
        beliefs = language.filtered_states(tokens)  # [N, T, S]
        moved = beliefs @ language.transition_matrix()
        moved[:, 0] = beliefs[:, 0]  # before the first symbol nothing moves
        symbols = moved @ language.emission_matrix()
        return np.concatenate([np.zeros((*tokens.shape, FIRST_SYMBOL)), symbols], axis=-1)

    return Reader(predict)


def draw(language: Markov | HiddenMarkov, count: int = COUNT) -> IntArray:
    return language.draw_inputs(SIZE, count, np.random.default_rng(1))


def test_the_true_chain_has_no_divergence() -> None:
    language = Markov(num_states=5)
    found = compare_chain(know_chain(language), language, SIZE, draw(language), 100)
    assert found.by_state == pytest.approx(np.zeros(5), abs=1e-6)
    metrics = found.metrics(language)
    assert metrics["kl_by_state"].keys() == {"s0", "s1", "s2", "s3", "s4"}
    assert metrics["kl_per_state"] == pytest.approx(0.0, abs=1e-6)
    assert found.counts.sum() == COUNT * (SIZE - 1)
    assert found.expected == pytest.approx(language.transition_matrix(), abs=1e-6)


def test_a_uniform_model_diverges_by_what_the_states_entropy_lacks() -> None:
    language = Markov(num_states=4)
    uniform = Reader(lambda tokens: np.full((*tokens.shape, 6), 1 / 6))
    found = compare_chain(uniform, language, SIZE, draw(language), 10_000)
    chain = language.transition_matrix()
    expected = np.log(6) + (chain * np.log(chain)).sum(1)
    assert found.by_state == pytest.approx(expected, abs=1e-5)
    metrics = found.metrics(language)
    assert metrics["kl_per_state"] == pytest.approx(expected.mean(), abs=1e-5)
    assert metrics["kl_per_state_max"] == pytest.approx(expected.max(), abs=1e-5)
    low, high = metrics["kl_by_state_ci95"]["s0"]
    assert low <= metrics["kl_by_state"]["s0"] + 1e-6 and high >= expected[0] - 1e-5


@pytest.mark.parametrize("language", [Markov(5), HiddenMarkov()], ids=["markov", "hidden"])
def test_the_optimal_predictor_is_at_the_optimum(language: Markov | HiddenMarkov) -> None:
    traces = language.write_traces(SIZE, draw(language))
    optimal = language.optimal_nats(traces)
    best = know_chain(language) if isinstance(language, Markov) else know_filter(language)
    assert score_labels(best, traces, optimal, 300).excess == pytest.approx(0.0, abs=1e-4)
    width = language.vocab_size
    uniform = Reader(lambda tokens: np.full((*tokens.shape, width), 1 / width))
    scores = score_labels(uniform, traces, optimal, 300)
    assert scores.nats == pytest.approx(SIZE * np.log(width), rel=1e-5)
    assert scores.excess.mean() > 0


def make_model(language: HiddenMarkov, heads: int = 1) -> DHMMGPT2ForCausalLM:
    config = DHMMGPT2Config(
        vocab_size=language.vocab_size,
        embed_size=8,
        heads=2,
        ff_hidden=8,
        num_states=4,
        counter_heads=0,
        filter_heads=heads,
    )
    return DHMMGPT2ForCausalLM(config).eval()


def test_beliefs_that_are_the_optimal_filters_are_read_as_well_as_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    language = HiddenMarkov()

    def filtered(model: object, tokens: Tensor) -> dict[int, Tensor]:
        beliefs = language.filtered_states(tokens.numpy())
        shuffled = beliefs[..., [2, 0, 3, 1]]  # a model names its states as it likes
        return {0: torch.from_numpy(shuffled)[:, :, None]}

    monkeypatch.setattr(trace_sources, "read_beliefs", filtered)
    inputs = {SIZE: draw(language, 300)}
    found = track_hidden_states(make_model(language), language, inputs, SIZE, 2_000)
    assert found["belief_accuracy"] == pytest.approx(found["optimal_filter_accuracy"], abs=0.02)
    assert found["optimal_filter_accuracy"] > found["base_rate"] + 0.1
    low, high = found["belief_accuracy_ci95"]
    assert low < found["belief_accuracy"] < high


def test_beliefs_that_say_nothing_are_worth_the_base_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    language = HiddenMarkov()

    def indifferent(model: object, tokens: Tensor) -> dict[int, Tensor]:
        return {0: torch.full((*tokens.shape, 1, 4), 0.25)}

    monkeypatch.setattr(trace_sources, "read_beliefs", indifferent)
    longer = language.draw_inputs(2 * SIZE, 40, np.random.default_rng(2))
    inputs = {SIZE: draw(language, 200), 2 * SIZE: longer}
    found = track_hidden_states(make_model(language), language, inputs, SIZE, 2_000)
    assert found["belief_accuracy"] <= found["base_rate"] + 1e-9
    assert found["belief_accuracy_by_length"].keys() == {SIZE, 2 * SIZE}


def test_a_model_without_a_filter_has_no_beliefs_to_read() -> None:
    language = HiddenMarkov()
    model = make_model(language, heads=0)
    found = track_hidden_states(model, language, {SIZE: draw(language, 20)}, SIZE, 2_000)
    assert found["belief_accuracy"] is None and found["optimal_filter_accuracy"] > 0


@pytest.mark.parametrize("name", ["markov", "hidden_markov"])
def test_sources_are_drawn_from_and_have_no_exact_match(name: str) -> None:
    language = {"name": name, "min_size": 6, "max_size": 6}
    task = TraceTask.from_config(make_config(language=language, evaluation={"sizes": [6]}))
    torch.manual_seed(0)
    vocab = {"vocab_size": task.language.vocab_size, "num_states": 4, "embed_size": 16}
    policy = build_policy("dhmm_gpt2", {**vocab, "heads": 2, "ff_hidden": 16})
    assert isinstance(policy, LanguageActorCritic)
    model = policy.language_model
    first, again = (measure(model, task, (6, 9), 20, 0, details=True).metrics() for _ in range(2))
    timed = ("tokens_per_s",)
    assert {k: v for k, v in first.items() if k not in timed} == {
        k: v for k, v in again.items() if k not in timed
    }
    assert first["exact_match"] is None and first["nats_over_optimal"] > 0
    assert 0 < first["illegal_rate"] <= 1  # an untrained model draws START and END, too
    assert ("kl_by_state" if name == "markov" else "belief_accuracy") in first
