from __future__ import annotations

import itertools
import math

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from parley.envs.cartpole.tokens import ACT_LEFT, STEP_TOKENS
from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.cartpole import CartPole, start_states
from parley.envs.trace.hidden_markov import HiddenMarkov
from parley.envs.trace.language import END
from parley.envs.trace.markov import Markov
from parley.envs.trace.source import (
    Categorical,
    draw_chain,
    mean_entropy,
    stationary_distribution,
)


def test_a_chain_pays_minus_log_of_each_transition() -> None:
    language = Markov(num_states=4, chain_seed=3)
    inputs = language.draw_inputs(6, 5, np.random.default_rng(0))
    nats = language.optimal_nats(language.write_traces(6, inputs))
    chain, start = language.transition_matrix(), language.start_distribution()
    for row, walk in enumerate(inputs.tolist()):
        plain = [0.0, -math.log(start[walk[0]])]
        plain += [-math.log(chain[a, b]) for a, b in itertools.pairwise(walk)]
        np.testing.assert_allclose(nats[row], [*plain, 0.0])


def test_the_entropy_rate_is_the_mean_of_what_a_long_walk_pays() -> None:
    language = Markov()
    inputs = language.draw_inputs(200, 200, np.random.default_rng(0))
    nats = language.optimal_nats(language.write_traces(200, inputs))[:, 2:-1]
    assert nats.mean() == pytest.approx(language.entropy_rate, abs=0.02)


def test_walks_are_drawn_from_the_chain() -> None:
    language = Markov(num_states=3)
    walks = language.draw_inputs(50, 2000, np.random.default_rng(0))
    counts = np.zeros((3, 3))
    np.add.at(counts, (walks[:, :-1].ravel(), walks[:, 1:].ravel()), 1)
    drawn = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(drawn, language.transition_matrix(), atol=0.02)
    first = np.bincount(walks[:, 0], minlength=3) / len(walks)
    np.testing.assert_allclose(first, language.start_distribution(), atol=0.05)


def test_a_seed_gives_one_source() -> None:
    one, same, other = Markov(), Markov(), Markov(chain_seed=1)
    np.testing.assert_array_equal(one.transition_matrix(), same.transition_matrix())
    assert not np.allclose(one.transition_matrix(), other.transition_matrix())
    np.testing.assert_allclose(one.transition_matrix().sum(axis=1), 1)
    first, second = HiddenMarkov(source_seed=4), HiddenMarkov(source_seed=4)
    np.testing.assert_array_equal(first.emission_matrix(), second.emission_matrix())
    np.testing.assert_allclose(first.emission_matrix().sum(axis=1), 1)


def test_the_forward_algorithm_equals_the_sum_over_all_paths() -> None:
    language = HiddenMarkov(num_states=3, num_symbols=4, source_seed=2, stay=0.6)
    start, chain = language.start_distribution(), language.transition_matrix()
    emission, length = language.emission_matrix(), 4
    inputs = language.draw_inputs(length, 6, np.random.default_rng(0))
    traces = language.write_traces(length, inputs)
    nats = language.optimal_nats(traces)
    beliefs = language.filtered_states(traces.tokens)
    for row, symbols in enumerate(language.visible(inputs).tolist()):
        before = 1.0
        np.testing.assert_allclose(beliefs[row, 0], start)
        for place in range(1, length + 1):
            ends = np.zeros(3)
            for path in itertools.product(range(3), repeat=place):
                weight = start[path[0]] * emission[path[0], symbols[0]]
                for step in range(1, place):
                    weight *= chain[path[step - 1], path[step]]
                    weight *= emission[path[step], symbols[step]]
                ends[path[-1]] += weight
            assert nats[row, place] == pytest.approx(-math.log(ends.sum() / before))
            np.testing.assert_allclose(beliefs[row, place], ends / ends.sum())
            before = ends.sum()
        np.testing.assert_array_equal(beliefs[row, -1], beliefs[row, -2])
        assert nats[row, 0] == nats[row, -1] == 0


def test_the_default_source_rewards_memory() -> None:
    language = HiddenMarkov()
    inputs = language.draw_inputs(128, 500, np.random.default_rng(0))
    traces = language.write_traces(128, inputs)
    optimal = language.optimal_nats(traces)[:, 40:-1].mean()
    assert optimal < language.first_order_nats - 0.1 < language.unigram_nats - 0.2
    guesses = language.filtered_states(traces.tokens)[:, 1:-1].argmax(axis=2)
    right = (guesses == language.hidden_states(inputs)).mean()
    assert right > 0.8 > 2 * language.start_distribution().max()


def test_predictors_without_memory_cost_what_counting_says() -> None:
    language = HiddenMarkov(num_states=2, num_symbols=3)
    symbols = language.visible(language.draw_inputs(200, 2000, np.random.default_rng(0)))
    counts = np.zeros((3, 3))
    np.add.at(counts, (symbols[:, :-1].ravel(), symbols[:, 1:].ravel()), 1)
    unigram = counts.sum(axis=0, keepdims=True) / counts.sum()
    assert mean_entropy(np.ones(1), unigram) == pytest.approx(language.unigram_nats, abs=0.01)
    weights = counts.sum(axis=1) / counts.sum()
    rows = counts / counts.sum(axis=1, keepdims=True)
    assert mean_entropy(weights, rows) == pytest.approx(language.first_order_nats, abs=0.01)


def test_hidden_states_are_hidden() -> None:
    language = HiddenMarkov()
    inputs = language.draw_inputs(5, 3, np.random.default_rng(0))
    other = inputs.copy()
    other[:, :5] = 0
    np.testing.assert_array_equal(language.visible(inputs), language.visible(other))
    one, two = language.write_traces(5, inputs), language.write_traces(5, other)
    np.testing.assert_array_equal(one.tokens, two.tokens)
    np.testing.assert_array_equal(language.hidden_states(inputs), inputs[:, :5])


def test_what_a_source_says_is_exact_when_it_is_all_symbols() -> None:
    language = Markov(num_states=3)
    inputs = np.array([0, 1, 2, 0])
    written = np.array([0, 4, 4, 4, 4, 9])  # what follows the last symbol is not read
    verdict = language.verify(4, inputs, written)
    assert verdict.exact and verdict.answer == verdict.truth == ()
    written[3] = END
    verdict = language.verify(4, inputs, written)
    assert not verdict.exact and verdict.illegal_at == 3
    assert verdict.reason == "a symbol expected, not END (2 symbols to go)"


def test_an_inverted_uniform_never_leaves_its_row() -> None:
    table = np.full((1000, 3), [0.2, 0.3, 0.5])
    rows = np.repeat(np.arange(1000), 4)
    uniforms = np.tile([0.0, 0.2, 0.5, np.nextafter(1, 0)], 1000)
    drawn = Categorical(table).draw(rows, uniforms).reshape(1000, 4)
    assert ((drawn >= 0) & (drawn <= 2)).all()
    assert drawn[:, 0].tolist() == [0] * 1000
    assert drawn[:, 3].tolist() == [2] * 1000


def test_the_stationary_distribution_stays() -> None:
    chain = np.array([[0.9, 0.1], [0.5, 0.5]])
    np.testing.assert_allclose(stationary_distribution(chain), [5 / 6, 1 / 6])
    np.testing.assert_allclose(stationary_distribution(np.eye(1)), [1.0])
    walks = draw_chain(np.array([0.0, 1.0]), np.eye(2), (4, 6), np.random.default_rng(0))
    np.testing.assert_array_equal(walks, np.ones((4, 6)))


def test_episodes_follow_the_real_physics() -> None:
    language = CartPole(epsilon=0.2)
    inputs = language.draw_inputs(30, 4, np.random.default_rng(0))
    traces = language.write_traces(30, inputs)
    for row in range(4):
        real = gymnasium.make("CartPole-v1").unwrapped
        assert isinstance(real, CartPoleEnv)
        real.reset(seed=0)
        real.state = start_states(inputs)[row]
        steps = traces.tokens[row, :-1].reshape(-1, STEP_TOKENS)
        for action, *tokens in steps[1:]:
            state, *_ = real.step(int(action) - ACT_LEFT)
            np.testing.assert_array_equal(tokens, language.tokenizer.encode_state(real.state))
            assert state.shape == (4,)


def test_labels_hold_the_experts_choice_where_it_acted_at_random() -> None:
    language = CartPole(epsilon=0.5)
    inputs = language.draw_inputs(20, 20, np.random.default_rng(0))
    traces = language.write_traces(20, inputs)
    same = traces.labels == traces.tokens
    ignored = traces.labels == IGNORED_LABEL
    actions = np.arange(traces.tokens.shape[1]) % STEP_TOKENS == 0
    assert ignored[:, :STEP_TOKENS].all() and ignored[:, -1].all()
    assert same[:, ~actions][~ignored[:, ~actions]].all()
    differing = (~same & ~ignored)[:, actions].mean()
    assert 0.1 < differing < 0.4


def test_an_episode_ends_where_the_pole_falls() -> None:
    language = CartPole(epsilon=1.0)
    inputs = language.draw_inputs(100, 20, np.random.default_rng(0))
    traces = language.write_traces(100, inputs)
    row = int(traces.lengths.argmin())
    length = int(traces.lengths[row])
    assert length < traces.tokens.shape[1]
    assert (traces.tokens[row, length:] == END).all()
    assert (traces.labels[row, length - 1 :] == IGNORED_LABEL).all()
    verdict = language.verify(100, inputs[row], traces.tokens[row])
    assert verdict.illegal_at is None and not verdict.exact
    assert verdict.answer == (length // STEP_TOKENS - 2,)
    assert verdict.truth == (100,)


def test_other_actions_lead_to_other_states() -> None:
    language = CartPole(num_bins=1000)
    inputs = language.draw_inputs(3, 1, np.random.default_rng(0))[0]
    written = language.write_traces(3, inputs[None]).tokens[0]
    written[5] ^= 1  # LEFT for RIGHT
    verdict = language.verify(3, inputs, written)
    assert verdict.illegal_at is not None and verdict.illegal_at > 5
    assert "(the state is x=" in verdict.reason
    written[5] = 20
    assert "LEFT or RIGHT expected, not x16" in language.verify(3, inputs, written).reason
