"""Preference pairs as token ids: made once, shared by all trials of a sweep.

A prompt and its responses are tokenised apart, so that the prompt is always a prefix of what the
model reads. Nothing in here depends on a setting that a sweep searches. Knows no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from parley.platform.errors import InputError
from parley.platform.language.text_ids import TextEncoder
from parley.platform.maxims.pair_settings import PreferenceDataConfig
from parley.platform.maxims.pairs.pair import PreferencePair

CHOSEN, REJECTED = 0, 1
"""The order of every last axis of two."""


class PairDataError(InputError):
    """Pairs that cannot be learned from, or that are not those of the run."""


@dataclass(frozen=True)
class TokenRows:
    """N token sequences behind each other."""

    tokens: NDArray[np.int32]
    """[sum of the lengths]"""
    offsets: NDArray[np.int64]
    """[N + 1]: sequence n is `tokens[offsets[n] : offsets[n + 1]]`."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        """The tokens int32 [L] of one sequence."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence, int64 [N]."""
        return np.diff(self.offsets)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> TokenRows:
        """The sequences at `indices`, in that order."""
        return TokenRows.join([self[index] for index in indices])

    @staticmethod
    def join(parts: Sequence[Sequence[int] | NDArray[np.int32]]) -> TokenRows:
        """One object of all sequences."""
        offsets = np.cumsum([0, *(len(part) for part in parts)])
        flat = [np.asarray(part, np.int32) for part in parts]
        return TokenRows(np.concatenate(flat) if flat else np.zeros(0, np.int32), offsets)


@dataclass(frozen=True)
class TokenPairs:
    """N preference pairs as token ids; plain arrays, cheap to send between processes."""

    prompts: TokenRows
    chosen: TokenRows
    """Each ends with the end-of-text token, as do the rejected ones."""
    rejected: TokenRows
    ids: tuple[str, ...]
    """The pairs' ids, [N]."""
    end_token: int
    fingerprint: str
    """Of the tokenizer's vocabulary, the pairs and how prompts were cut."""
    reference: NDArray[np.float64] | None = None
    """[N, 2]: log-probabilities of chosen and rejected under the reference, where known."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def response_lengths(self) -> NDArray[np.int64]:
        """Tokens of chosen and rejected, end-of-text included, int64 [N, 2]."""
        return np.stack([self.chosen.lengths, self.rejected.lengths], 1)

    def response(self, pair: int, side: int) -> NDArray[np.int32]:
        """The tokens int32 [L] of one response; `side` is `CHOSEN` or `REJECTED`."""
        return (self.rejected if side else self.chosen)[pair]

    @cached_property
    def prompt_groups(self) -> NDArray[np.int64]:
        """A number for each pair, int64 [N], equal where the prompts' tokens are equal."""
        numbers: dict[bytes, int] = {}
        keys = (self.prompts[pair].tobytes() for pair in range(len(self)))
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)

    def with_reference(self, log_probs: NDArray[np.float64]) -> TokenPairs:
        """The same pairs with what the reference says of them, float64 [N, 2]."""
        if log_probs.shape != (len(self), 2):
            raise ValueError(f"log_probs must be [{len(self)}, 2], got {list(log_probs.shape)}")
        return replace(self, reference=log_probs)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> TokenPairs:
        """The pairs at `indices`, in that order."""
        return replace(
            self,
            prompts=self.prompts.take(indices),
            chosen=self.chosen.take(indices),
            rejected=self.rejected.take(indices),
            ids=tuple(self.ids[index] for index in indices),
            reference=None if self.reference is None else self.reference[np.asarray(indices)],
        )

    def check_same(self, fingerprint: str) -> None:
        """Refuse to resume with other data than a run began with.

        Raises:
            PairDataError: tokenizer, pairs or cuts are not those of `fingerprint`.
        """
        if fingerprint != self.fingerprint:
            raise PairDataError(
                f"the pairs are not those of the checkpoint: their fingerprint is "
                f"{self.fingerprint}, the checkpoint's {fingerprint}. Resume with the same data "
                f"folder, tokenizer, data.max_prompt_tokens and data.max_response_tokens, or "
                f"start a new run"
            )


@dataclass(frozen=True)
class EncodingCounts:
    """What became of the pairs on their way to tokens."""

    pairs: int
    """Pairs that were given."""
    encoded: int
    """Pairs that are learned from."""
    long_responses: int
    """Pairs left out because a response is too long."""
    equal_responses: int
    """Pairs left out because both responses have the same tokens."""
    cut_prompts: int
    """Pairs whose prompt was cut from the left."""
    cut_tokens: int
    """Tokens that these prompts lost, over all pairs."""
    spelt_marks: int = 0
    """Prompts and responses that spelt their own end or beginning; see `SpeltTokens`."""
    spelt_letters: int = 0
    """Prompts and responses that spelt a special token inside."""


def encode_pairs(
    pairs: Sequence[PreferencePair],
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    data: PreferenceDataConfig,
) -> tuple[TokenPairs, EncodingCounts]:
    """Pairs as token ids, with prompts cut from the left to what fits next to their responses.

    A response is its text as it follows its prompt, and the end-of-text token. All pairs of a
    prompt get the same cut, so that the model reads that prompt once for all of them.

    Args:
        pairs: what to encode.
        tokenizer: of the model.
        context: the model's window, in tokens.
        data: the limits.

    Raises:
        PairDataError: no pair is left.
    """
    encoder = TextEncoder(tokenizer)
    limit = min(data.max_response_tokens, context - max(1, len(encoder.beginning)))
    prompts = encoder.encode_prompts([pair.prompt for pair in pairs])
    sides = [
        encoder.encode_responses(texts)
        for texts in ([p.chosen for p in pairs], [p.rejected for p in pairs])
    ]
    longest = [max(map(len, both)) for both in zip(*sides, strict=True)]
    equal = [chosen == rejected for chosen, rejected in zip(*sides, strict=True)]
    is_short = [length <= limit for length in longest]
    kept = [n for n in range(len(pairs)) if is_short[n] and not equal[n]]
    if not kept:
        raise _nothing_to_learn(len(pairs), limit, context)
    rooms = _prompt_rooms(pairs, longest, kept, context, data.max_prompt_tokens)
    cuts = [max(0, len(prompts[n]) - rooms[pairs[n].prompt]) for n in kept]
    encoded = TokenPairs(
        TokenRows.join(
            [encoder.cut(prompts[n], len(prompts[n]) - c) for n, c in zip(kept, cuts, strict=True)]
        ),
        TokenRows.join([sides[CHOSEN][n] for n in kept]),
        TokenRows.join([sides[REJECTED][n] for n in kept]),
        tuple(pairs[n].id for n in kept),
        encoder.end_token,
        "",
    )
    counts = EncodingCounts(
        pairs=len(pairs),
        encoded=len(kept),
        long_responses=is_short.count(False),
        equal_responses=sum(same and short for same, short in zip(equal, is_short, strict=True)),
        cut_prompts=sum(cut > 0 for cut in cuts),
        cut_tokens=sum(cuts),
        spelt_marks=encoder.spelt.marks,
        spelt_letters=encoder.spelt.letters,
    )
    return replace(encoded, fingerprint=_fingerprint(encoded, tokenizer, counts)), counts


def _nothing_to_learn(num_pairs: int, limit: int, context: int) -> PairDataError:
    return PairDataError(
        f"none of {num_pairs} preference pairs can be learned from: responses may have at most "
        f"{limit} tokens (data.max_response_tokens, and the model's window of {context}) and must "
        f"differ"
    )


def _prompt_rooms(
    pairs: Sequence[PreferencePair],
    longest: Sequence[int],
    kept: Sequence[int],
    context: int,
    max_prompt_tokens: int,
) -> dict[str, int]:
    """Tokens that each prompt may have: what the longest of all its responses leaves."""
    most: defaultdict[str, int] = defaultdict(int)
    for n in kept:
        most[pairs[n].prompt] = max(most[pairs[n].prompt], longest[n])
    highest = max_prompt_tokens or context
    return {prompt: min(highest, context - length) for prompt, length in most.items()}


def _fingerprint(
    pairs: TokenPairs, tokenizer: PreTrainedTokenizerFast, counts: EncodingCounts
) -> str:
    """Sixteen hexadecimal digits of everything that training on the pairs depends on."""
    digest = hashlib.sha256()
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    counted = {k: count for k, count in asdict(counts).items() if not k.startswith("spelt")}
    for facts in (vocabulary, pairs.ids, counted):
        digest.update(json.dumps(facts).encode())
    for rows in (pairs.prompts, pairs.chosen, pairs.rejected):
        digest.update(rows.tokens.tobytes())
        digest.update(rows.offsets.tobytes())
    return digest.hexdigest()[:16]
