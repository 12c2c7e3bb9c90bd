"""Pairs as tokens: prefixes, cuts, counts, fingerprints."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from parley.platform.cooperate.dpo.token_pairs import (
    PairDataError,
    TokenPairs,
    TokenRows,
    encode_pairs,
)
from parley.platform.language.tokenizer import train_tokenizer
from parley.platform.maxims.pair_settings import PreferenceDataConfig
from parley.platform.maxims.pairs.pair import PreferencePair
from tests.platform.cooperate.dpo_fixtures import make_pairs

PROMPT = "Context: [agent_1]: do you like tea?\nEvidence: FS1\nGenerate cooperative response:"
SENTENCE = "tea is a drink of leaves in hot water and many people like it very much"


def make_pair(number: int, prompt: str, chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair(f"p{number}", "c", prompt, chosen, rejected, "manner", "test")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([PROMPT, SENTENCE], 320, 128)


def encode(
    pairs: list[PreferencePair], tokenizer: PreTrainedTokenizerFast, context: int = 128, **data: int
) -> tuple[TokenPairs, dict[str, int]]:
    settings = PreferenceDataConfig.model_validate(data)
    encoded, counts = encode_pairs(pairs, tokenizer, context, settings)
    return encoded, dataclasses.asdict(counts)


def test_response_is_the_text_after_a_space_and_the_end_token(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    pairs, counts = encode([make_pair(0, PROMPT, "tea is hot", "tea tea")], tokenizer)
    assert tokenizer.decode(pairs.prompts[0]) == PROMPT
    assert tokenizer.decode(pairs.chosen[0]) == " tea is hot<|endoftext|>"
    assert pairs.rejected[0][-1] == pairs.end_token
    assert counts["encoded"] == counts["pairs"] == 1
    assert sum(counts.values()) == 2


def test_prompt_is_cut_from_the_left_equally_for_all_its_pairs(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    short, long = "tea", SENTENCE
    rows = [make_pair(0, PROMPT, short, "no"), make_pair(1, PROMPT, long, "no")]
    whole, _ = encode(rows, tokenizer)
    context = int(whole.chosen.lengths.max()) + 10
    pairs, counts = encode(rows, tokenizer, context)
    for number in range(2):
        np.testing.assert_array_equal(pairs.prompts[number], whole.prompts[number][-10:])
        np.testing.assert_array_equal(pairs.chosen[number], whole.chosen[number])
    assert counts["cut_prompts"] == 2
    assert counts["cut_tokens"] == 2 * (len(whole.prompts[0]) - 10)
    assert pairs.prompt_groups.tolist() == [0, 0]


def test_longest_prompt_can_be_set(tokenizer: PreTrainedTokenizerFast) -> None:
    pairs, counts = encode([make_pair(0, PROMPT, "yes", "no")], tokenizer, max_prompt_tokens=5)
    assert len(pairs.prompts[0]) == 5
    assert counts["cut_prompts"] == 1


def test_pairs_that_cannot_be_learned_from_are_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    long = SENTENCE
    rows = [
        make_pair(0, PROMPT, "yes", "no"),
        make_pair(1, PROMPT, long, "no"),
        make_pair(2, PROMPT, "no", long),
        make_pair(3, PROMPT, "no", "no"),
        make_pair(4, PROMPT, long, long),
    ]
    pairs, counts = encode(rows, tokenizer, max_response_tokens=6)
    assert pairs.ids == ("p0",)
    assert counts["long_responses"] == 3
    assert counts["equal_responses"] == 1
    assert counts["encoded"] + counts["long_responses"] + counts["equal_responses"] == len(rows)


def test_no_pair_left_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(PairDataError, match=r"none of 1 .* at most 3 tokens"):
        encode([make_pair(0, PROMPT, SENTENCE, "no")], tokenizer, max_response_tokens=3)


def test_fingerprint_tells_tokenizers_pairs_and_cuts_apart(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    rows = [make_pair(0, PROMPT, "yes", "no"), make_pair(1, PROMPT, "tea", "no")]
    other = train_tokenizer([PROMPT], 290, 128)
    changed = [rows[0], make_pair(2, PROMPT, "tea", "no")]
    prints = [
        encode(rows, tokenizer)[0].fingerprint,
        encode(rows, other)[0].fingerprint,
        encode(changed, tokenizer)[0].fingerprint,
        encode(rows[:1], tokenizer)[0].fingerprint,
        encode(rows, tokenizer, max_prompt_tokens=5)[0].fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    pairs = encode(rows, tokenizer)[0]
    pairs.check_same(prints[0])
    with pytest.raises(PairDataError, match="not those of the checkpoint"):
        pairs.check_same(prints[1])


def test_taken_pairs_keep_their_reference() -> None:
    pairs = make_pairs(6).with_reference(np.arange(12.0).reshape(6, 2))
    taken = pairs.take([4, 1])
    assert taken.ids == ("pair-4", "pair-1")
    assert taken.reference is not None
    assert taken.reference.tolist() == [[8.0, 9.0], [2.0, 3.0]]
    np.testing.assert_array_equal(taken.rejected[1], pairs.rejected[1])
    with pytest.raises(ValueError, match=r"\[6, 2\]"):
        pairs.with_reference(np.zeros((5, 2)))


def test_rows_may_be_empty() -> None:
    rows = TokenRows.join([[], [1, 2]])
    assert rows.lengths.tolist() == [0, 2]
    assert len(TokenRows.join([])) == 0
