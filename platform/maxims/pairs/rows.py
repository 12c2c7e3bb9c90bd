"""One row of an input file as a parsed pair, or the reason why it is none.

Two formats are known by their keys: repairs (`input_text`, `target_text`) and preferences
(`prompt`, `chosen`, `rejected`). White space is squeezed in all texts: in real data the chosen
responses end in blanks and the rejected ones do not, which would tell them apart. End tokens that
are spelt at the end of a turn or response are left out, with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from parley.platform.maxims.pairs.reading import SourceRow
from parley.platform.maxims.pairs.tagged import TaggedTextError, parse_tagged
from parley.platform.maxims.text.exchange import MAXIMS
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.maxims.text.wording import clean_context, clean_response

REPAIR_KEYS = ("input_text", "target_text")
PREFERENCE_KEYS = ("prompt", "chosen", "rejected")
CONVERSATION_KEYS = ("source_id", "conversation")
SPELT_END = "end token spelt at the end of a turn or response (left out)"
"""A warning."""
UNKNOWN = "unknown"
"""The maxim of a pair without a label."""
SEVERAL = "multiple"
"""What repairs call a response that violates more than one maxim; the tags name them."""

_PROMPT = re.compile(
    r"\s*Context:(?P<context>.*)\nEvidence:(?P<evidence>.*?)"
    r"\n\s*Generate (?:a )?cooperative response:\s*",
    re.IGNORECASE | re.DOTALL,
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class RowError(ValueError):
    """Why a row is dropped; the first argument is the same for all rows of this reason."""


@dataclass(frozen=True)
class ParsedRow:
    """A row that can become a pair; texts without surplus white space, none empty."""

    row: SourceRow
    kind: Literal["repair", "preference"]
    conversation: str | None
    """The id that the row gives, if any."""
    context: str
    evidence: str
    """May be empty."""
    chosen: str
    rejected: str
    maxim: str
    """A maxim, several joined by `+`, or `unknown`."""
    warnings: tuple[str, ...]

    @property
    def content(self) -> tuple[str, str, str, str]:
        """What makes two rows duplicates."""
        return (self.context, self.evidence, self.chosen, self.rejected)


def parse_row(row: SourceRow) -> ParsedRow:
    """The pair of a row in either format.

    Raises:
        RowError: the row cannot be used; the message is the reason.
    """
    value = row.value
    if not isinstance(value, Mapping):
        raise RowError("not an object")
    if all(key in value for key in REPAIR_KEYS):
        parsed = _parse_repair(row, value)
    elif all(key in value for key in PREFERENCE_KEYS):
        parsed = _parse_preference(row, value)
    else:
        raise RowError(
            "neither a repair (input_text, target_text) nor a preference row "
            "(prompt, chosen, rejected)"
        )
    for name in ("context", "chosen", "rejected"):
        if not getattr(parsed, name):
            raise RowError(f"empty {name}" if name == "context" else f"empty {name} response")
    if parsed.chosen == parsed.rejected:
        raise RowError("chosen equal to rejected")
    return parsed


def read_prompt(prompt: str) -> tuple[str, str]:
    """Context and evidence of a prompt, squeezed; the request may be worded in two ways.

    Raises:
        RowError: the prompt has another form.
    """
    found = _match_prompt(prompt)
    return clean_context(found["context"]), normalise_space(found["evidence"])


def prompt_context(prompt: str) -> str:
    """The context of a prompt as it stands there.

    Raises:
        RowError: the prompt has another form.
    """
    return _match_prompt(prompt)["context"]


def _match_prompt(prompt: str) -> re.Match[str]:
    found = _PROMPT.fullmatch(prompt)
    if found is None:
        raise RowError(
            "prompt not of the form 'Context: … Evidence: … Generate a cooperative response:'"
        )
    return found


def _parse_repair(row: SourceRow, value: Mapping[str, object]) -> ParsedRow:
    text, chosen = (_text(value, key) for key in REPAIR_KEYS)
    try:
        parts = parse_tagged(text)
    except TaggedTextError as error:
        raise RowError(str(error)) from None
    if not parts.violations:
        raise RowError("no [VIOLATION=…] tag")
    maxim = join_maxims(parts.violations)
    warnings = list(parts.warnings)
    named = _named_maxim(value)
    if named not in (UNKNOWN, SEVERAL, maxim):
        warnings.append("maxim differs from the tag (the tag counts)")
    if has_spelt_end(parts.context, chosen, parts.response):
        warnings.append(SPELT_END)
    return ParsedRow(
        row,
        "repair",
        _conversation(value),
        clean_context(parts.context),
        normalise_space(parts.evidence),
        clean_response(chosen),
        clean_response(parts.response),
        maxim,
        tuple(warnings),
    )


def _parse_preference(row: SourceRow, value: Mapping[str, object]) -> ParsedRow:
    prompt, chosen, rejected = (_text(value, key) for key in PREFERENCE_KEYS)
    context, evidence = read_prompt(prompt)
    maxim = _named_maxim(value)
    if maxim == SEVERAL:
        maxim = UNKNOWN
    return ParsedRow(
        row,
        "preference",
        _conversation(value),
        context,
        evidence,
        clean_response(chosen),
        clean_response(rejected),
        maxim,
        (SPELT_END,) if has_spelt_end(prompt_context(prompt), chosen, rejected) else (),
    )


def has_spelt_end(context: str, *responses: str) -> bool:
    """Whether an end token is spelt at the end of a turn of the context or of a response."""
    return clean_context(context) != normalise_space(context) or any(
        clean_response(response) != normalise_space(response) for response in responses
    )


def join_maxims(names: tuple[str, ...]) -> str:
    """The maxims of `names` in their usual order, joined by `+`.

    Raises:
        RowError: one of them is no maxim.
    """
    for name in names:
        if name not in MAXIMS:
            raise RowError(f"unknown maxim {name[:40]!r}")
    return "+".join(maxim for maxim in MAXIMS if maxim in names)


def _named_maxim(value: Mapping[str, object]) -> str:
    """What the row's own `maxim` says, in lower case."""
    named = value.get("maxim")
    if named is None:
        return UNKNOWN
    if not isinstance(named, str):
        raise RowError("maxim is not text")
    name = named.strip().lower()
    return name if name in (UNKNOWN, SEVERAL) else join_maxims(tuple(name.split("+")))


def _conversation(value: Mapping[str, object]) -> str | None:
    for key in CONVERSATION_KEYS:
        name = value.get(key)
        if isinstance(name, bool) or not isinstance(name, str | int | None):
            raise RowError(f"{key} is neither text nor a number")
        if name is not None and str(name).strip():
            return _encodable(str(name).strip())
    return None


def _text(value: Mapping[str, object], key: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise RowError(f"{key} is not text")
    return _encodable(text)


def _encodable(text: str) -> str:
    if _SURROGATE.search(text):
        raise RowError("half a character (a lone surrogate), which UTF-8 cannot hold")
    return text
