"""Responses to be judged, and what is known about them, from any of the files that hold some.

By its keys a row is one of: tagged text with `labels`; `context`, `evidence` and `response` (or
`violated_response`), with or without `labels`; a repair (`input_text`, `target_text`); a preference
(`prompt`, `chosen`, `rejected`); `prompt` and `response`. Rows that cannot be used are handed on
with the reason, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from parley.platform.errors import InputError, display_path
from parley.platform.maxims.pairs.reading import SourceRow, read_rows
from parley.platform.maxims.pairs.rows import (
    RowError,
    has_spelt_end,
    prompt_context,
    read_prompt,
)
from parley.platform.maxims.pairs.tagged import TaggedTextError, parse_tagged
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.maxims.text.sentences import normalise_space
from parley.platform.maxims.text.wording import clean_context, clean_response

CONVERSATION_KEYS = ("conversation", "source_id", "original_id", "source_example_id")
RESPONSE_KEYS = ("violated_response", "response", "rejected")
HUMAN_KEYS = ("original_response", "target_text", "chosen")
NO_VIOLATION = "none"

Labels = tuple[bool, bool, bool, bool]


class LabelledRow(NamedTuple):
    """One response to judge."""

    exchange: Exchange
    labels: Labels | None
    """Which maxims it violates, by the order of `MAXIMS`; None where nobody says."""
    violation_type: str
    """Such as `quantity_over`; `none` for a clean row; empty where nobody says."""
    human: str
    """The response of a person in the same place (repaired or never violated), or empty."""
    conversation: str | None
    """The id that the row gives, if any."""
    place: str
    """Such as `row 12`."""


@dataclass(frozen=True)
class RowProblem:
    """A row that cannot be judged."""

    path: Path
    place: str
    reason: str


@dataclass(frozen=True)
class LabelledRows:
    """What one or more files hold."""

    rows: list[LabelledRow]
    problems: list[RowProblem]
    spelt_ends: int = 0
    """Rows that spelt an end token at the end of a turn or of the response; it was left out."""

    def describe_spelt_ends(self) -> str | None:
        """What was left out of how many rows, in one line; None: nothing."""
        if not self.spelt_ends:
            return None
        return (
            f"{self.spelt_ends:,} rows spell an end token at the end of a turn or response, which "
            f"is left out"
        )


class NoRowsError(InputError):
    """A file without a single row that can be judged."""


def read_labelled(path: Path) -> LabelledRows:
    """The rows of a JSON or JSONL file.

    Raises:
        DataFileError: the file cannot be read.
        NoRowsError: none of its rows can be judged; the message gives the first reasons.
    """
    rows: list[LabelledRow] = []
    problems: list[RowProblem] = []
    spelt_ends = 0
    for source in read_rows(path):
        try:
            row, spells_end = _parse(source)
            rows.append(row)
            spelt_ends += spells_end
        except (RowError, TaggedTextError) as error:
            problems.append(RowProblem(path, f"{source.unit} {source.number}", str(error)))
    if not rows:
        first = "; ".join(f"{problem.place}: {problem.reason}" for problem in problems[:3])
        raise NoRowsError(
            f"{display_path(path)}: no row can be judged ({first or 'there are none'}); a row "
            f"needs a response with its context: tagged text in input_text, or context and "
            f"response, or prompt and response"
        )
    return LabelledRows(rows, problems, spelt_ends)


def _parse(source: SourceRow) -> tuple[LabelledRow, bool]:
    """A row, and whether it spelt an end token."""
    value = source.value
    if not isinstance(value, Mapping):
        raise RowError("not an object")
    raw, named = _exchange(value)
    exchange = Exchange(
        clean_context(raw.context), normalise_space(raw.evidence), clean_response(raw.response)
    )
    if not exchange.response:
        raise RowError("empty response")
    labels = _labels(value, named)
    kind = value.get("violation_type") or (NO_VIOLATION if labels and not any(labels) else "")
    if not kind and labels:
        kind = "+".join(maxim for maxim, label in zip(MAXIMS, labels, strict=True) if label)
    human = next((str(value[key]) for key in HUMAN_KEYS if isinstance(value.get(key), str)), "")
    ids = (value.get(key) for key in CONVERSATION_KEYS)
    row = LabelledRow(
        exchange,
        labels,
        str(kind),
        clean_response(human),
        next((found for found in ids if isinstance(found, str) and found), None),
        f"{source.unit} {source.number}",
    )
    return row, has_spelt_end(raw.context, raw.response, human)


def _exchange(value: Mapping[str, object]) -> tuple[Exchange, tuple[str, ...]]:
    """The exchange of a row as it stands there, and the violations that its tags name."""
    if "input_text" in value:
        parts = parse_tagged(_text(value, "input_text"))
        return Exchange(parts.context, parts.evidence, parts.response), parts.violations
    key = next((key for key in RESPONSE_KEYS if key in value), None)
    if key is None:
        raise RowError(f"no response: none of the keys input_text, {', '.join(RESPONSE_KEYS)}")
    response = _text(value, key)
    if "prompt" in value:
        prompt = _text(value, "prompt")
        try:
            context, evidence = prompt_context(prompt), read_prompt(prompt)[1]
        except RowError:  # any other prompt is what was said before
            context, evidence = prompt, ""
        return Exchange(context, evidence, response), ()
    if "context" not in value:
        raise RowError("neither context nor prompt")
    return Exchange(_text(value, "context"), _evidence(value), response), ()


def _evidence(value: Mapping[str, object]) -> str:
    """Text, or a list of pointers; may be absent."""
    evidence = value.get("evidence", "")
    if isinstance(evidence, list) and all(isinstance(item, str) for item in evidence):
        evidence = " ".join(evidence)
    if not isinstance(evidence, str):
        raise RowError("evidence is not text")
    return evidence


def _labels(value: Mapping[str, object], named: tuple[str, ...]) -> Labels | None:
    """From `labels`, else from the tags, else from `maxim`; None where the row says nothing."""
    given = value.get("labels")
    if given is None:
        maxim = value.get("maxim")
        names = named or (tuple(str(maxim).lower().split("+")) if maxim else ())
        if not set(names) <= set(MAXIMS) or not names:
            if named:
                raise RowError(f"unknown maxim {', '.join(sorted(set(named) - set(MAXIMS)))}")
            return None
        given = {name: 1 for name in names}
    if not isinstance(given, Mapping):
        raise RowError("labels are not an object")
    unknown = sorted(set(given) - set(MAXIMS))
    if unknown:
        raise RowError(f"unknown maxim {', '.join(map(str, unknown))} in labels")
    bits = [given.get(maxim, 0) for maxim in MAXIMS]
    if any(bit not in (0, 1) for bit in bits):
        raise RowError("labels are not 0 or 1")
    quantity, quality, relation, manner = map(bool, bits)
    return quantity, quality, relation, manner


def _text(value: Mapping[str, object], key: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise RowError(f"{key} is not text")
    return text
