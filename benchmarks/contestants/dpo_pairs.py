"""The pairs that DPO is measured on: the real ones, or random tokens of the same lengths."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from parley.platform.cooperate.dpo.token_pairs import TokenPairs, TokenRows, encode_pairs
from parley.platform.language.tokenizer import train_tokenizer
from parley.platform.maxims.pair_settings import PreferenceDataConfig
from parley.platform.maxims.pairs.pair import PreferencePair

SMALL_VOCAB, LARGE_VOCAB = 3_000, 50_257
CONTEXT = 512

PROMPT_LENGTHS = (20, 48, 68, 80, 89, 99, 108, 119, 132, 150, 171, 232)
CHOSEN_LENGTHS = (7, 13, 17, 19, 21, 25, 29, 34, 40, 49, 58, 87)
REJECTED_LENGTHS = (4, 7, 9, 12, 15, 21, 27, 33, 42, 57, 72, 162)
"""Tokens of the real pairs at the quantiles `QUANTILES`, with a vocabulary of 3,000."""
QUANTILES = (0.0, 0.05, 0.12, 0.18, 0.25, 0.38, 0.5, 0.62, 0.75, 0.88, 0.95, 1.0)
PAIRS_TO_A_PROMPT = {1: 148, 2: 300, 3: 338, 4: 264, 5: 110, 6: 51, 7: 10, 8: 1}
"""Pairs that share a prompt, and for how many prompts; almost all share the chosen response too."""


@dataclass(frozen=True)
class Case:
    """A vocabulary: the pairs in its tokens."""

    vocab_size: int
    data: str
    tokenizer: PreTrainedTokenizerFast
    pairs: TokenPairs


def real_pairs() -> list[PreferencePair] | None:
    """The real pairs, where they are at hand."""
    root = Path(os.environ.get("PARLEY_DATA", "../shared/data"))
    file = root / "gricebench" / "preference_pairs.json"
    if not file.is_file():
        return None
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [
        PreferencePair(str(n), "", row["prompt"], row["chosen"], row["rejected"], "", file.name)
        for n, row in enumerate(rows)
    ]


def make_case(vocab_size: int, num_pairs: int) -> Case:
    """Pairs of randomly chosen prompts, all pairs of each, `num_pairs` in all."""
    random = np.random.default_rng(0)
    rows = real_pairs()
    gpt2 = Path(os.environ.get("PARLEY_DATA", "../shared/data")) / "gpt2_tokenizer"
    if rows is None:
        tokenizer = train_tokenizer(["random tokens need no merges"], 300, CONTEXT)
        return Case(vocab_size, "generated", tokenizer, synthetic_pairs(num_pairs, random))
    if vocab_size == LARGE_VOCAB and gpt2.is_dir():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(gpt2)
    else:
        texts = (text for row in rows for text in (row.prompt, row.chosen, row.rejected))
        tokenizer = train_tokenizer(texts, SMALL_VOCAB, CONTEXT)
    pairs, _ = encode_pairs(
        rows, tokenizer, CONTEXT, PreferenceDataConfig(max_response_tokens=CONTEXT // 2)
    )
    order = random.permutation(pairs.prompt_groups.max() + 1)[pairs.prompt_groups]
    kept = np.argsort(order, kind="stable")[:num_pairs]
    return Case(vocab_size, "real", tokenizer, pairs.take(kept))


def synthetic_pairs(num_pairs: int, random: np.random.Generator) -> TokenPairs:
    """Random tokens with the lengths of the real pairs and as many pairs to a prompt."""

    def draw(lengths: Sequence[int]) -> list[int]:
        length = round(float(np.interp(random.random(), QUANTILES, lengths)))
        return [*random.integers(1, SMALL_VOCAB, length - 1).tolist(), 0]

    sizes = np.repeat(list(PAIRS_TO_A_PROMPT), list(PAIRS_TO_A_PROMPT.values()))
    sides: tuple[list[list[int]], list[list[int]], list[list[int]]] = ([], [], [])
    while len(sides[0]) < num_pairs:
        prompt, chosen = draw(PROMPT_LENGTHS), draw(CHOSEN_LENGTHS)
        for _ in range(min(int(random.choice(sizes)), num_pairs - len(sides[0]))):
            for side, tokens in zip(sides, (prompt, chosen, draw(REJECTED_LENGTHS)), strict=True):
                side.append(tokens)
    prompts, chosens, rejecteds = (TokenRows.join(side) for side in sides)
    ids = tuple(str(n) for n in range(num_pairs))
    return TokenPairs(prompts, chosens, rejecteds, ids, 0, "synthetic")
