"""End tokens that data spell out: `Yes, tea is nice. <|endoftext|>`.

Dialogues that were written for a language model carry the token that closed a turn as text. Who
reads them puts an end behind every turn by itself, so a spelt one would stand there twice: the
model then learns that silence follows a turn. One rule, wherever text is read: a spelt end at the
end of a turn is that turn's end and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SPELT_ENDS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
)
"""How the tokenizers of common language models spell the token that ends a turn or a text."""


def strip_spelt_ends(text: str, spellings: Iterable[str] = SPELT_ENDS) -> str:
    """`text` without the ends spelt at its end, and without white space around it."""
    ends = tuple(spellings)
    stripped = text.strip()
    while found := next((end for end in ends if end and stripped.endswith(end)), None):
        stripped = stripped.removesuffix(found).rstrip()
    return stripped


def split_at_spelt_ends(text: str) -> list[str]:
    """The turns of a line in which each is closed by a spelt end; none of them blank."""
    return [turn.strip() for turn in _ANY_END.split(text) if turn.strip()]


_ANY_END = re.compile("|".join(map(re.escape, SPELT_ENDS)))
