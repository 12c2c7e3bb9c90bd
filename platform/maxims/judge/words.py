"""Words, numbers and end marks of a turn, as the judge counts them."""

from __future__ import annotations

import re

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|\d[\d,.]*|[.!?]+|[^\sa-z\d]")


def split_words(text: str) -> list[str]:
    """Lower-case words, numbers and marks in order; runs of end marks stand together."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))
