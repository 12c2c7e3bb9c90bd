"""Pages of HTML as the tests read them, and words that try to break out of them."""

from __future__ import annotations

import math
from html.parser import HTMLParser

from parley.platform.runs.transcripts import (
    Transcript,
    TranscriptTurn,
)

EVIL = "<script>alert('&')</script>"
VOID = {"meta", "path", "circle", "rect"}
"""Elements without an end tag, or closed by themselves."""


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def titles(self) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get("title")) is not None]


def dialogue(iteration: int, number: int, opener: int = 1, nll: float = 2.0) -> Transcript:
    turns = [
        TranscriptTurn("opener", EVIL, [EVIL], [opener]),
        TranscriptTurn(
            "distorter", f"so {EVIL}", ["so", f" {EVIL}"], [2, 3], [nll, math.nan], {"total": 1.5}
        ),
        TranscriptTurn("competitor", "", [], [], []),
    ]
    return Transcript(iteration, number, EVIL, turns, terminated=True, truncated=False)
