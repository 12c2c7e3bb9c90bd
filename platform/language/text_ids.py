"""From text to token ids: the one way that training, generation, chat and measuring share.

What texts become, whatever the tokenizer:

- A sequence begins with what the tokenizer itself puts before a text (BOS), exactly once, and with
  nothing where it puts nothing. Where a sequence is cut from the left, that beginning stays.
- A response follows its prompt after one space. Where the tokenizer opens every text with a space
  of its own (SentencePiece's dummy prefix), that one is it. Prompt and response are encoded apart,
  so that no token crosses the border and a prompt has the same ids in training and in generation.
- An end token that the text spells at its end is that text's end, the mark of a beginning at its
  start that text's beginning: left out, as every end and every beginning is put in here.
- Anywhere else no text can be a control token: special tokens that are spelt are read as letters.

White space at the ends of turns and responses, and at the end of prompts, is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from parley.envs.dialogue.spelt_ends import strip_spelt_ends
from parley.platform.language.tokenizer import end_token_of
from parley.platform.terminal.activities import activity

Ids = list[int]
TEXTS_TOGETHER = 4_096
"""Texts that a tokenizer is given at once."""


@dataclass
class SpeltTokens:
    """Special tokens that texts spell, counted."""

    marks: int = 0
    """Texts with ends at their end or a beginning at their start, which were left out."""
    letters: int = 0
    """Texts with special tokens elsewhere, which were read as letters."""

    def describe(self, what: str) -> str | None:
        """What was done with how many of `what` (such as `turns`), in one line; None: nothing."""
        parts = []
        if self.marks:
            parts.append(f"{self.marks:,} {what} spell their own end token, which is left out")
        if self.letters:
            parts.append(
                f"{self.letters:,} {what} spell a special token inside, which is read as letters"
            )
        return "; ".join(parts) or None


class TextEncoder:
    """The ids of texts for one tokenizer.

    Args:
        tokenizer: of the model; it is not changed.

    Attributes:
        end_token: closes every turn and response.
        beginning: ids that stand before every sequence; none for most tokenizers.
        spelt: what was found in the texts so far.

    Raises:
        ValueError: the tokenizer has no end token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.end_token = end_token_of(tokenizer)
        self.beginning = beginning_of(tokenizer)
        self.spelt = SpeltTokens()
        self._gap = "" if _opens_with_space(tokenizer) else " "
        self._control = _control_ids(tokenizer)
        spellings: Any = tokenizer.all_special_tokens
        unknown = None if tokenizer.unk_token_id == self.end_token else tokenizer.unk_token
        self._spellings = [str(token) for token in spellings if str(token) != unknown]

    def encode_turns(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each turn, without the end token that is to follow it."""
        return self._encode([self._clean(text) for text in texts])

    def encode_prompts(self, prompts: Sequence[str]) -> list[Ids]:
        """The ids of each prompt, its beginning included.

        A prompt of no token becomes one end token: a model cannot continue nothing.
        """
        rows = self._encode([self._clean(prompt, left=False) for prompt in prompts])
        return [[*self.beginning, *ids] or [self.end_token] for ids in rows]

    def encode_responses(self, responses: Sequence[str]) -> list[Ids]:
        """The ids of each response as it follows its prompt, the end token behind it."""
        cleaned = [self._clean(text) for text in responses]
        rows = self._encode([f"{self._gap}{text}" if text else "" for text in cleaned])
        return [[*ids, self.end_token] for ids in rows]

    def cut(self, ids: Ids, room: int) -> Ids:
        """A sequence cut from the left to `room` tokens, at least 1; its beginning stays."""
        kept = ids[len(self.beginning) :]
        room -= len(self.beginning)
        return [*self.beginning, *kept[max(0, len(kept) - max(0, room)) :]]

    def _clean(self, text: str, left: bool = True) -> str:
        """A text without the marks at its ends, counted; what stands inside is counted, too."""
        end, begin = str(self._tokenizer.eos_token), self._tokenizer.bos_token
        plain = text.strip() if left else text.rstrip()
        cleaned = strip_spelt_ends(plain, [end]) if plain.endswith(end) else plain
        if begin and cleaned.lstrip().startswith(str(begin)):
            cleaned = cleaned.lstrip().removeprefix(str(begin)).lstrip()
        self.spelt.marks += cleaned != plain
        self.spelt.letters += any(spelling in cleaned for spelling in self._spellings)
        return cleaned

    def _encode(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of ordinary text; a model of whole pieces may know a special token as one."""
        return [
            [token for token in ids if token not in self._control]
            for ids in encode_plainly(self._tokenizer, texts)
        ]


def encode_plainly(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    add_special_tokens: bool = False,
    max_length: int | None = None,
) -> list[Ids]:
    """The ids of each text, in which no special token stands because the text spells it.

    Args:
        tokenizer: of the model.
        texts: what to encode.
        add_special_tokens: put in what the tokenizer puts around a text.
        max_length: longer ones are cut on the tokenizer's `truncation_side`.
    """
    rows: list[Ids] = []
    with activity("encoding", len(texts), "texts") as encoding:
        for first in range(0, len(texts), TEXTS_TOGETHER):
            encoded: Any = tokenizer(
                list(texts[first : first + TEXTS_TOGETHER]),
                add_special_tokens=add_special_tokens,
                split_special_tokens=True,
                truncation=max_length is not None,
                max_length=max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
            rows += encoded["input_ids"]
            encoding.advance(len(encoded["input_ids"]))
    return rows


def beginning_of(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids that a tokenizer puts before a text."""
    (inner,) = encode_plainly(tokenizer, ["a"])
    (whole,) = encode_plainly(tokenizer, ["a"], add_special_tokens=True)
    for start in range(len(whole) - len(inner) + 1):
        if whole[start : start + len(inner)] == inner:
            return tuple(whole[:start])
    return ()


def _opens_with_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a text gets a space before its first word that it does not have itself."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    text = "a" if backend.normalizer is None else backend.normalizer.normalize_str("a")
    if backend.pre_tokenizer is not None:
        text = "".join(piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text))
    return len(text) > 1


def _control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that text must not become; the unknown token stands for text, unless it ends turns."""
    ids: Any = tokenizer.all_special_ids
    unknown = tokenizer.unk_token_id
    return frozenset(token for token in ids if token != unknown) | {end_token_of(tokenizer)}
