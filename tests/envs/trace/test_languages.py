from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import (
    END,
    START,
    IllegalStepError,
    IntArray,
    Language,
    first_difference,
)
from parley.envs.trace.languages import LANGUAGES, build_language

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("addition", {}),
    ("addition", {"order": "msd"}),
    ("addition", {"base": 3}),
    ("addition", {"base": 16, "order": "msd"}),
    ("sorting", {}),
    ("sorting", {"num_values": 3}),
    ("sorting", {"marks": False}),
    ("parity", {}),
    ("counter", {}),
    ("counter", {"modulus": 2}),
    ("shell_game", {}),
    ("shell_game", {"cups": 2}),
    ("markov", {"num_states": 3}),
    ("hidden_markov", {}),
    ("cartpole", {}),
]
DETERMINED = [variant for variant in VARIANTS if not build_language(*variant).is_source]
seeds = st.integers(0, 2**32)


def draw(
    variant: tuple[str, dict[str, Any]], size: int, seed: int, count: int = 1
) -> tuple[Language, int, IntArray]:
    language = build_language(*variant)
    if variant[0] == "sorting":
        size += 1
    return language, size, language.draw_inputs(size, count, np.random.default_rng(seed))


def spelled(name: str, size: int, inputs: list[int], **options: Any) -> tuple[str, str]:
    """Tokens and labels of one trace by their names; an ignored label is a dot."""
    language = build_language(name, options)
    traces = language.write_traces(size, np.array([inputs]))
    labels = [
        "." if label == IGNORED_LABEL else language.alphabet[label] for label in traces.labels[0]
    ]
    return language.spell(traces.tokens[0]), " ".join(labels)


@settings(deadline=None)
@given(st.sampled_from(VARIANTS), st.integers(1, 7), seeds)
def test_a_true_trace_executes_to_the_true_answer(variant: Any, size: int, seed: int) -> None:
    language, size, inputs = draw(variant, size, seed)
    verdict = language.verify(size, inputs[0], language.write_traces(size, inputs).tokens[0])
    assert verdict.exact
    assert verdict.answer == verdict.truth == language.answer(size, inputs[0])
    assert (verdict.illegal_at, verdict.differs_at, verdict.reason) == (None, None, "")


@settings(deadline=None)
@given(st.sampled_from(VARIANTS), st.integers(1, 7), seeds)
def test_traces_have_the_promised_shape(variant: Any, size: int, seed: int) -> None:
    language, size, inputs = draw(variant, size, seed, count=5)
    traces = language.write_traces(size, inputs)
    num_tokens = language.num_tokens(size)
    assert traces.tokens.shape == traces.labels.shape == (5, num_tokens)
    assert traces.tokens.dtype == traces.labels.dtype == traces.lengths.dtype == np.int64
    assert traces.lengths.max() <= num_tokens
    assert (traces.tokens[:, 0] == START).all()
    assert (traces.tokens[:, 1:] > 0).all() and (traces.tokens < language.vocab_size).all()
    behind = np.arange(num_tokens) >= traces.lengths[:, None]
    assert (traces.tokens[behind] == END).all()
    assert (traces.labels[behind] == IGNORED_LABEL).all()
    assert (traces.tokens[np.arange(5), traces.lengths - 1] == END).all()
    assert language.optimal_nats(traces).shape == traces.tokens.shape
    if not language.is_source:
        written = slice(traces.prompt_length, None)
        np.testing.assert_array_equal(traces.labels[:, written], traces.tokens[:, written])
        assert not language.optimal_nats(traces).any()


@settings(deadline=None)
@given(st.sampled_from(DETERMINED), st.integers(1, 5), seeds, st.data())
def test_a_wrong_token_is_never_taken_for_right(
    variant: Any, size: int, seed: int, data: st.DataObject
) -> None:
    language, size, inputs = draw(variant, size, seed)
    traces = language.write_traces(size, inputs)
    place = data.draw(st.integers(traces.prompt_length, int(traces.lengths[0]) - 1))
    wrong = data.draw(st.integers(-1, language.vocab_size))
    written = traces.tokens[0].copy()
    if written[place] == wrong:
        return
    written[place] = wrong
    verdict = language.verify(size, inputs[0], written)
    assert verdict.differs_at == place
    assert verdict.exact == (verdict.reason == "")
    if verdict.illegal_at is not None:
        # A wrong decision moves the real array: what follows it is where the trace goes wrong.
        assert verdict.illegal_at >= place
        assert not verdict.exact and "expected" in verdict.reason
    if verdict.exact:
        # Only bubble sort has more than one way: it may end early, or swap equal values.
        assert variant[0] == "sorting"
        assert verdict.answer == tuple(sorted(inputs[0].tolist()))
    if variant[0] == "addition":
        assert not verdict.exact


@settings(deadline=None)
@given(st.sampled_from(DETERMINED), st.integers(1, 5), seeds, st.data())
def test_a_trace_that_stops_early_is_not_exact(
    variant: Any, size: int, seed: int, data: st.DataObject
) -> None:
    language, size, inputs = draw(variant, size, seed)
    traces = language.write_traces(size, inputs)
    length = data.draw(st.integers(traces.prompt_length, int(traces.lengths[0]) - 1))
    verdict = language.verify(size, inputs[0], traces.tokens[0, :length])
    assert (verdict.exact, verdict.illegal_at) == (False, None)
    assert (verdict.reason, verdict.differs_at) == ("the trace does not end", length)


def test_rows_may_be_cut_at_their_ends() -> None:
    language, size, inputs = draw(("addition", {}), 3, 0, count=3)
    tokens = language.write_traces(size, inputs).tokens
    verdicts = language.verify_all(size, inputs, [tokens[0], tokens[1, :-1], tokens[2]])
    assert [verdict.exact for verdict in verdicts] == [True, False, True]
    assert verdicts[1] == language.verify(size, inputs[1], tokens[1, :-1])
    with pytest.raises(ValueError, match="zip"):
        language.verify_all(size, inputs, tokens[:2])


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_may_follow_the_end(variant: Any) -> None:
    language, size, inputs = draw(variant, 2, 0)
    traces = language.write_traces(size, inputs)
    executor = language.executor(size, inputs[0])
    for token in traces.tokens[0, traces.prompt_length :]:
        if executor.ended:
            break
        assert str(executor)
        executor.feed(int(token))
    assert executor.ended
    with pytest.raises(IllegalStepError, match="the trace has ended"):
        executor.feed(END)


def test_numbers_are_written_units_first_with_their_carries() -> None:
    tokens, labels = spelled("addition", 2, [7, 5, 8, 4])
    assert tokens == "START 7 5 + 8 4 = 5 C1 0 C1 1 END"
    assert labels == ". . . . . . . 5 C1 0 C1 1 END"
    tokens, _ = spelled("addition", 2, [7, 5, 8, 4], order="msd")
    assert tokens == "START 5 7 + 4 8 = 5 C1 0 C1 ANSWER 1 0 5 END"
    tokens, _ = spelled("addition", 1, [15, 0], base=16)
    assert tokens == "START f + 0 = f C0 0 END"


def test_bubble_sort_writes_every_comparison() -> None:
    tokens, labels = spelled("sorting", 3, [3, 1, 2])
    assert tokens == (
        "START ^ 3 1 2 | COMPARE SWAP 1 ^ 3 2 | COMPARE SWAP ^ 1 2 | 3 COMPARE KEEP ^ 1 | 2 3 END"
    )
    assert labels.startswith(". . . . . . COMPARE SWAP 1 ^")
    tokens, _ = spelled("sorting", 2, [3, 3], marks=False)
    assert tokens == "START 3 3 COMPARE KEEP 3 3 END"


def test_tracking_games_label_every_move_with_the_answer_so_far() -> None:
    assert spelled("parity", 3, [1, 0, 1]) == (
        "START 1 0 1 EVEN END",
        ". EVEN ODD ODD EVEN END",
    )
    assert spelled("counter", 3, [3, 6, 1]) == (
        "START +3 +6 +1 =3 END",
        ". =0 =3 =2 =3 END",
    )
    assert spelled("shell_game", 2, [2, 5, 0]) == (
        "START at2 1-3 0-1 cup2 END",
        ". . cup2 cup2 cup2 END",
    )


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(1, 20), seeds)
def test_the_ball_is_where_swapping_real_cups_leaves_it(cups: int, size: int, seed: int) -> None:
    language, size, inputs = draw(("shell_game", {"cups": cups}), size, seed)
    tokens = language.spell(language.write_traces(size, inputs).tokens[0]).split()
    table = [cup == int(tokens[1].removeprefix("at")) for cup in range(cups)]
    for move in tokens[2:-2]:
        left, right = map(int, move.split("-"))
        table[left], table[right] = table[right], table[left]
    assert tokens[-2] == f"cup{table.index(True)}"


def test_the_executor_of_addition_says_what_was_due() -> None:
    language = build_language("addition")
    executor = language.executor(2, np.array([7, 5, 8, 4]))
    executor.feed(language.alphabet.index("5"))
    with pytest.raises(IllegalStepError, match=r"C1 expected, not C0 \(place 1: 7 \+ 8 \+ carry 0"):
        executor.feed(language.alphabet.index("C0"))
    assert executor.answer() is None
    executor.feed(language.alphabet.index("C1"))
    assert str(executor) == "place 2, carry 1, digits 5"


def test_a_wrong_digit_of_the_answer_is_legal_but_wrong() -> None:
    language = build_language("addition", {"order": "msd"})
    inputs = np.array([7, 5, 8, 4])
    written = language.write_traces(2, inputs[None]).tokens[0]
    written[-2] = language.alphabet.index("6")
    verdict = language.verify(2, inputs, written)
    assert verdict.illegal_at is None
    assert verdict.reason == "the answer is (1, 0, 6), not (1, 0, 5)"


def test_a_decision_moves_the_real_array_and_the_written_one_must_follow() -> None:
    language = build_language("sorting")
    inputs = np.array([2, 1, 3])
    name = language.alphabet.index
    written = language.write_traces(3, inputs[None]).tokens[0]
    written[7] = name("KEEP")
    verdict = language.verify(3, inputs, written)
    assert (verdict.illegal_at, verdict.answer, verdict.differs_at) == (8, (2, 1, 3), 7)
    assert verdict.reason == "2 expected, not 1 (the array is 2 ^ 1 3 |)"
    written[8:13] = [name(token) for token in ["2", "^", "1", "3", "|"]]
    written[13] = END
    verdict = language.verify(3, inputs, written)
    assert verdict.reason == "the answer is (2, 1, 3), not (1, 2, 3)"
    written[13] = name("KEEP")
    assert "COMPARE or END expected, not KEEP" in language.verify(3, inputs, written).reason


def test_an_early_end_answers_with_the_array_as_it_is() -> None:
    language = build_language("sorting")
    for values, exact in (([1, 2, 3], True), ([1, 3, 2], False)):
        inputs = np.array(values)
        written = language.write_traces(3, inputs[None]).tokens[0]
        written[6] = END
        assert language.verify(3, inputs, written).exact == exact


def test_inputs_are_counted() -> None:
    assert build_language("addition").num_inputs(3) == 10**6
    assert build_language("sorting").num_inputs(5) == 16**5
    assert build_language("shell_game").num_inputs(2) == 5 * 10**2
    assert build_language("parity").num_inputs(5000) == math.inf
    assert build_language("cartpole").num_inputs(1) == math.inf


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_row_builds_a_language_of_its_name(name: str) -> None:
    entry = LANGUAGES[name]
    assert entry.name == name == entry.load().name
    assert entry.summary
    with pytest.raises(ValueError, match="sizes begin at"):
        build_language(name).num_tokens(0)


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no language 'addtion'; there are addition, sorting, "):
        build_language("addtion")
    with pytest.raises(ValueError, match=r"no option 'basis'; its options are: base = 10, order"):
        build_language("addition", {"basis": 2})
    with pytest.raises(ValueError, match="parity has no option 'bits'; its options are: none"):
        build_language("parity", {"bits": 2})
    with pytest.raises(ValueError, match="'base' of addition must be of type int"):
        build_language("addition", {"base": True})
    with pytest.raises(ValueError, match="'marks' of sorting must be of type bool"):
        build_language("sorting", {"marks": 1})
    assert build_language("cartpole", {"epsilon": 1}).name == "cartpole"


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("addition", "base", 1),
        ("addition", "base", 37),
        ("addition", "order", "lsd"),
        ("sorting", "num_values", 1),
        ("counter", "modulus", 1),
        ("shell_game", "cups", 1),
        ("markov", "num_states", 1),
        ("markov", "chain_seed", -1),
        ("hidden_markov", "num_states", 1),
        ("hidden_markov", "num_symbols", 1),
        ("hidden_markov", "source_seed", -1),
        ("hidden_markov", "stay", 1.0),
        ("cartpole", "num_bins", 1),
        ("cartpole", "epsilon", 1.5),
    ],
)
def test_options_outside_their_range_are_refused(name: str, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} must be"):
        build_language(name, {option: value})


def test_first_difference() -> None:
    row = np.array([1, 2, 3])
    assert first_difference(row, row) is None
    assert first_difference(np.array([1, 2, 3, 9]), row) is None
    assert first_difference(np.array([1, 9, 9]), row) == 1
    assert first_difference(np.array([1, 2]), row) == 2


def test_the_examples_in_the_documentation_are_true_traces() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "languages.md").read_text()
    table = [re.split(r"(?<!\\)\|", line) for line in page.splitlines() if line.startswith("| ")]
    rows = [[cell.strip(" `") for cell in (row[1], *row[3:5])] for row in table if len(row) == 6]
    rows = [row for row in rows if row[2].startswith(("START", "RESET"))]
    assert {name for name, _, _ in rows} == {*LANGUAGES, ""}
    name = ""
    for row_name, options, example in rows:
        name = row_name or name
        language = build_language(name, {"order": "msd"} if "msd" in options else {})
        tokens = example.replace("\\", "").split()
        assert set(tokens) <= set(language.alphabet), example
        written = np.array([language.alphabet.index(token) for token in tokens])
        sizes = [size for size in range(1, 5) if _num_tokens(language, size) == len(tokens)]
        assert len(sizes) == 1, example
        if language.is_source:
            continue
        inputs = _input_of(language, sizes[0], written)
        assert language.verify(sizes[0], inputs, written).differs_at is None


def _num_tokens(language: Language, size: int) -> int:
    try:
        return language.num_tokens(size)
    except ValueError:
        return 0


def _input_of(language: Language, size: int, written: IntArray) -> IntArray:
    """The input whose prompt begins `written`, found among random ones."""
    generator = np.random.default_rng(0)
    while True:
        inputs = language.draw_inputs(size, 10_000, generator)
        traces = language.write_traces(size, inputs)
        given = traces.prompt_length
        found = (traces.tokens[:, :given] == written[:given]).all(axis=1)
        if found.any():
            chosen: IntArray = inputs[found.argmax()]
            return chosen
