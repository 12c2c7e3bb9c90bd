"""Texts marked by tags: `[REPAIR] [VIOLATION=X] [CONTEXT] … [EVIDENCE] … [RESPONSE] …`.

The tags are found in any case. Violations count before the first CONTEXT only; the first EVIDENCE
after it ends the context, the first RESPONSE after that the evidence, and the rest is the response,
word for word, whatever tags stand in it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from parley.platform.errors import InputError

PARTS = ("context", "evidence", "response")
"""The tags that must stand in a text, in this order."""

_TAG = re.compile(
    r"\[\s*(?:(?P<part>context|evidence|response|repair)|violation\s*=(?P<maxims>[^\[\]]*))\s*\]",
    re.IGNORECASE,
)


class TaggedTextError(InputError):
    """A text without one of its tags, or with its tags in another order."""


class TaggedText(NamedTuple):
    """What stands between the tags, without white space at the ends."""

    violations: tuple[str, ...]
    """As named, in lower case, in the order of the text, each once."""
    context: str
    evidence: str
    response: str
    warnings: tuple[str, ...]
    """What is odd but readable, a phrase each."""


def parse_tagged(text: str) -> TaggedText:
    """The parts of a text marked by tags; REPAIR and VIOLATION may be absent.

    Raises:
        TaggedTextError: CONTEXT, EVIDENCE or RESPONSE is absent or stands elsewhere.
    """
    tags = list(_TAG.finditer(text))
    marks = _find_marks(tags)
    context, evidence, response = marks
    head = [tag for tag in tags if tag.end() <= context.start()]
    rest = [tag for tag in tags if tag.start() > context.start() and tag not in marks]
    violations, warnings = _read_head(text[: context.start()], head)
    if rest:
        warnings.append(f"tag {_name(rest[0])} inside the text")
    return TaggedText(
        violations,
        text[context.end() : evidence.start()].strip(),
        text[evidence.end() : response.start()].strip(),
        text[response.end() :].strip(),
        tuple(warnings),
    )


def _find_marks(tags: list[re.Match[str]]) -> list[re.Match[str]]:
    """The tags that part the text: one for each of `PARTS`, each after the one before."""
    marks: list[re.Match[str]] = []
    for part in PARTS:
        start = marks[-1].end() if marks else 0
        found = [tag for tag in tags if (tag["part"] or "").lower() == part]
        after = [tag for tag in found if tag.start() >= start]
        if not found:
            raise TaggedTextError(f"no [{part.upper()}] tag")
        if not after:
            raise TaggedTextError(f"[{part.upper()}] before [{PARTS[len(marks) - 1].upper()}]")
        marks.append(after[0])
    return marks


def _read_head(head: str, tags: list[re.Match[str]]) -> tuple[tuple[str, ...], list[str]]:
    """The violations named before the context, and what is odd there."""
    warnings = []
    names: dict[str, None] = {}
    for tag in tags:
        if tag["part"] is not None and tag["part"].lower() != "repair":
            warnings.append(f"tag {_name(tag)} before [CONTEXT]")
        for name in re.split(r"[,+|]", tag["maxims"] or ""):
            if tag["maxims"] is None:
                continue
            if name.strip().lower() in names:
                warnings.append("violation named twice")
            names[name.strip().lower()] = None
    if _TAG.sub("", head).strip():
        warnings.append("text before [CONTEXT]")
    return tuple(names), warnings


def _name(tag: re.Match[str]) -> str:
    return "[VIOLATION]" if tag["part"] is None else f"[{tag['part'].upper()}]"
