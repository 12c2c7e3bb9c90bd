"""What a written trace earns, token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parley.envs.trace.language import END, IntArray, Language
from parley.envs.trace.languages import build_language
from parley.envs.trace.reward import (
    ILLEGAL,
    LEGAL_TOTAL,
    RIGHT,
    WRONG,
    Referee,
    trace_rewards,
)
from parley.envs.trace.sorting import COMPARE, FIRST_VALUE, KEEP, SWAP

DETERMINED = {"addition": 2, "sorting": 3, "parity": 5, "counter": 4, "shell_game": 3}
"""Language -> a size."""


def written(language: Language, size: int, count: int = 6) -> tuple[IntArray, IntArray, int]:
    """Inputs, their true traces int64 [N, T] and the length of the prompt."""
    inputs = language.draw_inputs(size, count, np.random.default_rng(0))
    traces = language.write_traces(size, inputs)
    return inputs, traces.tokens, traces.prompt_length


@pytest.mark.parametrize("name", DETERMINED)
def test_a_true_trace_earns_its_legal_steps_and_the_right_answer(name: str) -> None:
    language, size = build_language(name), DETERMINED[name]
    inputs, tokens, given = written(language, size)
    earned = trace_rewards(language, size, inputs, tokens)
    num_steps = tokens.shape[1] - given
    assert num_steps == language.num_tokens(size) - given
    expected = np.full((6, num_steps), LEGAL_TOTAL / num_steps)
    expected[:, -1] += RIGHT
    np.testing.assert_allclose(earned.rewards, expected)
    assert earned.exact.all() and not earned.illegal.any()
    assert (earned.counts == num_steps).all()


@pytest.mark.parametrize("name", DETERMINED)
def test_an_illegal_token_ends_the_trace_and_nothing_after_it_counts(name: str) -> None:
    language, size = build_language(name), DETERMINED[name]
    inputs, tokens, given = written(language, size)
    tokens[:, given] = 0  # START is never legal after a prompt
    earned = trace_rewards(language, size, inputs, tokens)
    assert (earned.rewards[:, 0] == ILLEGAL).all()
    assert not earned.rewards[:, 1:].any()
    assert (earned.counts == 1).all()
    assert earned.illegal.all() and not earned.exact.any()


def test_there_is_no_safe_way_out() -> None:
    """END at once is legal, and costs as much as an illegal step; every legal way is better."""
    language = build_language("sorting")
    inputs = np.array([[3, 1, 2]])
    true = language.write_traces(3, inputs)
    given = true.prompt_length
    early = true.tokens.copy()
    early[0, given] = END
    earned = trace_rewards(language, 3, inputs, early)
    share = LEGAL_TOTAL / (early.shape[1] - given)
    assert earned.rewards[0, 0] == pytest.approx(share + WRONG)
    assert not earned.illegal[0] and not earned.exact[0]
    assert WRONG + LEGAL_TOTAL <= 0.0 < RIGHT


def test_a_wrong_decision_is_legal_and_costs_the_answer() -> None:
    language = build_language("sorting", {"marks": False})
    inputs = np.array([[2, 1]])
    referee = Referee(language, 2, inputs[0])
    trace = [COMPARE, KEEP, FIRST_VALUE + 2, FIRST_VALUE + 1, END]
    steps = [referee.read(token) for token in trace]
    assert [step.over for step in steps] == [False] * 4 + [True]
    assert all(step.reward == pytest.approx(LEGAL_TOTAL / 5) for step in steps[:-1])
    assert steps[-1].reward == pytest.approx(LEGAL_TOTAL / 5 + WRONG)
    assert "(2, 1)" in steps[-1].reason and "(1, 2)" in steps[-1].reason
    assert not referee.exact and not referee.illegal


def test_a_claim_that_the_real_array_denies_is_named() -> None:
    language = build_language("sorting", {"marks": False})
    referee = Referee(language, 2, np.array([2, 1]))
    assert not referee.read(COMPARE).over
    assert not referee.read(SWAP).over
    step = referee.read(FIRST_VALUE + 2)
    assert (step.reward, step.over, referee.illegal) == (ILLEGAL, True, True)
    assert "1 expected, not 2" in step.reason


def test_a_trace_that_does_not_end_is_lost() -> None:
    language = build_language("sorting")
    inputs, tokens, given = written(language, 3)
    earned = trace_rewards(language, 3, inputs, tokens[:, :-1])
    share = LEGAL_TOTAL / (tokens.shape[1] - given)
    np.testing.assert_allclose(earned.rewards, share)  # cut off: as far as it goes
    assert not earned.exact.any()
    assert (earned.counts == tokens.shape[1] - 1 - given).all()


def test_symbols_of_a_source_earn_what_they_are_likelier_than_by_chance() -> None:
    language = build_language("markov", {"num_states": 4})
    inputs, tokens, given = written(language, 6, count=3)
    earned = trace_rewards(language, 6, inputs, tokens)
    nats = language.optimal_nats(language.write_traces(6, inputs))[:, given:]
    num_steps = language.num_tokens(6) - given
    expected = (math.log(language.vocab_size - 2) - nats) / num_steps
    for row, count in enumerate(earned.counts.tolist()):
        np.testing.assert_allclose(earned.rewards[row, :count], expected[row, :count])
    assert earned.exact.all() and not earned.illegal.any()
