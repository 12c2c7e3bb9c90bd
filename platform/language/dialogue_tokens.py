"""Dialogues as token ids: every turn followed by the end-of-text token, as DialoGPT reads them.

A dialogue is `opener E reply E reply E ...`. Its first token is given, every later one is to be
predicted. What is longer than the model's context is cut into windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from parley.platform.language.text_ids import SpeltTokens, TextEncoder


@dataclass(frozen=True)
class TokenDialogues:
    """D dialogues of N tokens in all."""

    tokens: NDArray[np.int32]
    """[N]"""
    offsets: NDArray[np.int64]
    """[D + 1]: dialogue d is `tokens[offsets[d] : offsets[d + 1]]`."""
    end_token: int
    spelt: SpeltTokens = field(default_factory=SpeltTokens)
    """Special tokens that the texts spelt."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        """The tokens of one dialogue."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def num_targets(self) -> int:
        """Tokens to predict: all but the first of each dialogue."""
        return len(self.tokens) - len(self)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each dialogue, int64 [D]."""
        return np.diff(self.offsets)

    def take(self, indices: Sequence[int]) -> TokenDialogues:
        """The dialogues at `indices`, in that order."""
        return join_dialogues([self[index] for index in indices], self.end_token)


@dataclass(frozen=True)
class Window:
    """A stretch of one dialogue that a model reads at once."""

    start: int
    """Its first token, an index into `TokenDialogues.tokens`."""
    stop: int
    """One behind its last token."""
    first_target: int
    """The first token that is predicted; those between `start` and it are context only."""

    @property
    def length(self) -> int:
        """Tokens in it."""
        return self.stop - self.start


def encode_dialogues(
    dialogues: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerFast
) -> TokenDialogues:
    """Each message's tokens and the end-of-text token, for all messages of all dialogues.

    Only parley's own tokenizers are used so, which put nothing before a text.

    Raises:
        ValueError: there is no dialogue, or one without a message.
    """
    for number, dialogue in enumerate(dialogues):
        if not dialogue:
            raise ValueError(f"dialogue {number} has no message; leave it out")
    encoder = TextEncoder(tokenizer)
    messages = [message for dialogue in dialogues for message in dialogue]
    ids = iter(encoder.encode_turns(messages))
    parts = []
    for dialogue in dialogues:
        flat: list[int] = []
        for _ in dialogue:
            flat += next(ids)
            flat.append(encoder.end_token)
        parts.append(np.array(flat, np.int32))
    return replace(join_dialogues(parts, encoder.end_token), spelt=encoder.spelt)


def join_dialogues(parts: Sequence[NDArray[np.int32]], end_token: int) -> TokenDialogues:
    """One object of the tokens int32 [L] of each dialogue.

    Raises:
        ValueError: there is none.
    """
    if not parts:
        raise ValueError("no dialogues: give at least one with two messages")
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return TokenDialogues(np.concatenate(parts), offsets.astype(np.int64), end_token)


def cover_windows(dialogues: TokenDialogues, context: int) -> list[Window]:
    """Windows in which every token but the first of each dialogue is predicted exactly once.

    A window after the first begins where a turn begins, with about half a context of what was
    said before, so that no token is predicted from almost nothing.
    """
    windows = []
    for start, stop in zip(dialogues.offsets[:-1], dialogues.offsets[1:], strict=True):
        begin, reached = int(start), int(start) + 1
        while reached < stop:
            end = min(begin + context, int(stop))
            windows.append(Window(begin, end, reached))
            reached = end
            if end < stop:
                begin = _turn_start(dialogues, end - context // 2, end)
    return windows


def training_windows(
    dialogues: TokenDialogues, context: int, random: np.random.Generator
) -> list[Window]:
    """Windows of whole turns that do not overlap; long dialogues are cut elsewhere each time.

    The first window of a dialogue that does not fit the context gets a random size, so that over
    several passes every turn is read from different distances.
    """
    windows = []
    for start, stop in zip(dialogues.offsets[:-1], dialogues.offsets[1:], strict=True):
        begin, end_of_dialogue = int(start), int(stop)
        room = context
        if end_of_dialogue - begin > context:
            room = int(random.integers(context // 4, context + 1))
        while begin < end_of_dialogue - 1:
            end = _last_turn_end(dialogues, begin, min(begin + room, end_of_dialogue))
            if dialogues.tokens[end - 1] != dialogues.end_token:
                end = _last_turn_end(dialogues, begin, min(begin + context, end_of_dialogue))
            windows.append(Window(begin, end, begin + 1))
            begin, room = end, context
    return [window for window in windows if window.length > 1]


def _turn_start(dialogues: TokenDialogues, low: int, high: int) -> int:
    """The first token of a turn in [low, high), or `low` where none begins there."""
    ends = np.flatnonzero(dialogues.tokens[low - 1 : high - 1] == dialogues.end_token)
    return low + int(ends[0]) if len(ends) else low


def _last_turn_end(dialogues: TokenDialogues, begin: int, end: int) -> int:
    """The largest end of a turn in (begin, end], or `end` where the turn is longer than that."""
    ends = np.flatnonzero(dialogues.tokens[begin:end] == dialogues.end_token)
    return begin + int(ends[-1]) + 1 if len(ends) else end
